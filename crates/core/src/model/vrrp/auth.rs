//! Authentication of VRRP adverts: the passwords of version 2, and signatures (`auth_hmac`).

use std::fmt;
use std::time::Duration;

/// The password of VRRP version 2: eight bytes, padded with zeros (RFC 2338, 5.3.6.2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuthPass(pub [u8; 8]);

impl fmt::Debug for AuthPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthPass(…)")
    }
}

/// The authentication of VRRP version 2. Version 3 has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Auth {
    /// No authentication: every host on the link can send adverts.
    None,
    /// A password in clear text, which every host on the link can read.
    Pass(AuthPass),
    /// An authentication header keyed with the password (RFC 2402).
    Ah(AuthPass),
}

impl Auth {
    /// The Auth Type field of an advert (RFC 2338, 5.3.6).
    pub const fn number(self) -> u8 {
        match self {
            Auth::None => 0,
            Auth::Pass(_) => 1,
            Auth::Ah(_) => 2,
        }
    }
}

/// A key of `auth_hmac`.
#[derive(Clone, PartialEq, Eq)]
pub struct HmacKey {
    /// The key's number, by which a signature refers to it.
    pub id: u8,
    /// The secret, 32 to 64 bytes.
    pub secret: Vec<u8>,
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HmacKey({}, …)", self.id)
    }
}

/// Whether unsigned adverts are accepted, and whether own adverts are signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SigningMode {
    /// Own adverts are signed; unsigned adverts are rejected.
    Enforce,
    /// Own adverts are signed; unsigned adverts are accepted.
    Permissive,
    /// Own adverts are not signed; unsigned adverts are accepted.
    ReceiveOnly,
}

/// `auth_hmac`: adverts are signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signing {
    /// The keys, each with a number of its own.
    pub keys: Vec<HmacKey>,
    /// The number of the key that signs own adverts.
    pub active: u8,
    /// How far the time of a signature may differ from the local time of day. `None`: it only has to be greater than the
    /// last one of the same sender (`anti_replay monotonic`).
    pub window: Option<Duration>,
    /// How unsigned adverts and own adverts are handled.
    pub mode: SigningMode,
}

impl Signing {
    /// Whether adverts without a signature are accepted.
    pub fn accepts_unsigned(&self) -> bool {
        self.mode != SigningMode::Enforce
    }

    /// The key that signs own adverts, if they are signed.
    pub fn signing_key(&self) -> Option<&HmacKey> {
        self.keys.iter().find(|k| k.id == self.active && self.mode != SigningMode::ReceiveOnly)
    }
}
