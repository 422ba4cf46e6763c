//! Arguments: the words after a keyword to a [`Value`], by the kind of arguments that the registry gives.

use super::words::words_value;
use super::{Reader, abbreviate};
use crate::config::Diagnostic;
use crate::config::keywords::spec::Family;
use crate::config::keywords::{Args, Keyword};
use crate::config::lex::Word;
use crate::config::tree::Statement;
use crate::config::value::{Script, Value};
use crate::model::Scheduler;

/// Whether the keyword may have no argument.
pub(super) fn may_be_empty(args: Args) -> bool {
    matches!(
        args,
        Args::Flag
            | Args::Bool
            | Args::OptUint(..)
            | Args::OptInt(..)
            | Args::OptText
            | Args::Offset
            | Args::OptChoice(_)
            | Args::AbsolutePath(true)
            | Args::OptScript
            | Args::IncludeCheck
            | Args::InitFile
            | Args::UseVmac
            | Args::UseIpvlan
            | Args::HexMask
            | Args::StatusCodes
            | Args::Words(0, _)
    )
}

/// The names of all schedulers.
const SCHEDULER_NAMES: [&str; Scheduler::ALL.len()] = {
    let mut names = [""; Scheduler::ALL.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = Scheduler::ALL[i].name();
        i += 1;
    }
    names
};

impl Reader<'_> {
    /// Reads the arguments of a keyword without a block.
    pub(super) fn read_argument(&mut self, k: &'static Keyword, st: &Statement<'_>) -> Option<Value> {
        let Some(w) = st.args().first() else {
            return Some(match k.args {
                Args::Bool => Value::Bool(true),
                _ => Value::Present,
            });
        };
        let value = match k.args {
            Args::Flag => {
                self.warn_extra_words(st, 0);
                return Some(Value::Present);
            }
            Args::Bool => Value::Bool(self.read_boolean(w)?),
            Args::Uint(min, max) | Args::OptUint(min, max) => Value::Uint(self.read_unsigned(w, min, max)?),
            Args::Offset => Value::Uint(self.read_offset(w)?),
            Args::Int(min, max) | Args::OptInt(min, max) => Value::Int(self.read_signed(w, min, max)?),
            Args::Seconds(min, max) => Value::Time(self.read_time(w, min, max, 1_000_000)?),
            Args::Millis(min, max) => Value::Time(self.read_time(w, min, max, 1_000)?),
            Args::Text | Args::OptText => Value::Text(w.text.clone().into_owned()),
            Args::Choice(words) | Args::OptChoice(words) => Value::Text(self.read_choice(w, words, false)?.to_owned()),
            Args::ChoiceAnyCase(words) => Value::Text(self.read_choice(w, words, true)?.to_owned()),
            Args::Address => Value::Address(self.read_address(w, Family::Any)?),
            Args::Multicast(family) => Value::Address(self.read_multicast_address(w, family)?),
            // Of such a name keepalived checks only the length.
            Args::InterfaceUnchecked if w.text.len() <= 15 => Value::Text(w.text.clone().into_owned()),
            Args::Interface | Args::InterfaceUnchecked => Value::Text(self.read_interface_name(w)?),
            Args::Digest => self.read_digest(w)?,
            _ => return self.read_arguments(k, st, w),
        };
        self.warn_extra_words(st, 1);
        Some(value)
    }

    /// Reads arguments of several words, or with a syntax of their own. `w` is the first of them.
    fn read_arguments(&mut self, k: &'static Keyword, st: &Statement<'_>, w: &Word<'_>) -> Option<Value> {
        match k.args {
            Args::Words(_, max) => {
                self.warn_extra_words(st, max);
                Some(words_value(st.args().get(..max).unwrap_or(st.args())))
            }
            Args::Process => Some(words_value(st.args())),
            Args::ProcessName => Some(self.read_process_name(st, w)),
            Args::Regex => {
                self.warn_extra_words(st, 1);
                Some(Value::Text(w.text.clone().into_owned()))
            }
            Args::DnsName => self.read_dns_name(w),
            Args::AbsolutePath(_) => self.read_absolute_path(k, st, w),
            Args::IncludeCheck => Some(self.read_include_check(st)),
            Args::Script | Args::OptScript => self.read_script(st, w, false),
            Args::ParentScript => self.read_script(st, w, true),
            Args::User => self.read_user(st, w, 1).map(|user| Value::User(Box::new(user))),
            Args::Fifo => {
                let user = st.args().get(1).map(|u| self.read_user_leniently(st, u, 2));
                Some(Value::Script(Box::new(Script { argv: vec![w.text.clone().into_owned()], user })))
            }
            Args::Weight(min, max) => self.read_weight(st, w, min, max),
            Args::InitFile => self.read_init_file(st),
            Args::Cpus => self.read_cpus(st),
            Args::RxBufs => self.read_receive_buffers(w),
            Args::Umask => {
                self.warn_extra_words(st, 1);
                self.read_umask(w)
            }
            Args::Endpoint => self.read_endpoint(st, 0),
            Args::SmtpServer => {
                if let Some(p) = st.args().get(1) {
                    self.read_unsigned(p, 1, 65535)?;
                }
                self.warn_extra_words(st, 2);
                Some(words_value(st.args().get(..2).unwrap_or(st.args())))
            }
            Args::ExtraIf(min) => self.read_garp_extra_if(k, st, w, min),
            Args::UseVmac => self.read_use_vmac(st),
            Args::UseIpvlan => self.read_use_ipvlan(st),
            Args::HmacKey => self.read_hmac_key(st, w),
            Args::Hex | Args::HexMask => self.read_hex(st, w, matches!(k.args, Args::HexMask)),
            Args::StatusCodes => self.read_status_codes(st),
            Args::Scheduler => {
                self.warn_extra_words(st, 1);
                Some(Value::Text(self.read_choice(w, &SCHEDULER_NAMES, false)?.to_owned()))
            }
            Args::LvsMethod => self.read_lvs_method(st, w),
            Args::Granularity => self.read_persistence_granularity(st, w),
            Args::LvsTimeouts => self.read_lvs_timeouts(st),
            Args::FwmarkMember => self.read_fwmark_member(st, w),
            Args::OnRemoval => self.read_on_removal(st, w),
            Args::SyncDaemon => self.read_sync_daemon(st, w),
            Args::Attachment => self.read_attachment(st, w),
            _ => None, // `read_argument` reads the other kinds, or they have a block
        }
    }

    /// `[VALUE] [overwrite]`: the initial value of a tracked file.
    fn read_init_file(&mut self, st: &Statement<'_>) -> Option<Value> {
        for w in st.args() {
            if w.text != "overwrite" {
                self.read_signed(w, i64::from(i32::MIN), i64::from(i32::MAX))?;
            }
        }
        Some(words_value(st.args()))
    }

    /// Processor numbers, below the number of processors of the machine if that is known.
    fn read_cpus(&mut self, st: &Statement<'_>) -> Option<Value> {
        let max = self.environment.cpu_count().map_or(4095, |n| u64::from(n.saturating_sub(1)));
        for w in st.args() {
            self.read_unsigned(w, 0, max)?;
        }
        Some(words_value(st.args()))
    }

    /// `MTU|ADVERT|BYTES`
    fn read_receive_buffers(&mut self, w: &Word<'_>) -> Option<Value> {
        if w.text.trim_start().bytes().all(|b| b.is_ascii_digit() || b == b'+') {
            self.read_unsigned(w, 1, u64::from(u32::MAX))?;
        } else {
            self.read_choice(w, &["MTU", "ADVERT"], false)?;
        }
        Some(Value::Text(w.text.clone().into_owned()))
    }

    /// `[all] SECONDS`
    fn read_garp_extra_if(&mut self, k: &Keyword, st: &Statement<'_>, w: &Word<'_>, min: u64) -> Option<Value> {
        // keepalived takes the last word as the time.
        let number = if w.text == "all" { st.args().get(1) } else { st.args().last() };
        let Some(n) = number else {
            let d = Diagnostic::error("missing-argument", w.span, format!("`{} all` needs a time", k.name));
            self.report(d.label("expected seconds after it"));
            return None;
        };
        self.read_unsigned(n, min, 86_400)?;
        Some(words_value(st.args()))
    }

    /// `INTERFACE [auto|xdp|tc|generic]`
    fn read_attachment(&mut self, st: &Statement<'_>, w: &Word<'_>) -> Option<Value> {
        let mode = match st.args().get(1) {
            None => "auto",
            Some(m) => self.read_choice(m, &["auto", "xdp", "tc", "generic", "off"], false)?,
        };
        self.warn_extra_words(st, 2);
        Some(Value::Words(vec![self.read_interface_name(w)?, mode.to_owned()]))
    }

    /// 32 hexadecimal digits, an MD5 digest.
    fn read_digest(&mut self, w: &Word<'_>) -> Option<Value> {
        if w.text.len() != 32 || !w.text.bytes().all(|b| b.is_ascii_hexdigit()) {
            self.report(
                Diagnostic::error("not-a-digest", w.span, format!("`{}` is not an MD5 digest", abbreviate(w)))
                    .label(format!("expected 32 hexadecimal digits, found {} characters", w.text.len())),
            );
            return None;
        }
        Some(Value::Text(w.text.clone().into_owned()))
    }
}
