//! Trusted paths: programs that only root can change, by whatever way their path leads to them.
//!
//! A program that root runs is trusted if every element that its path passes belongs to root and is writable by nobody
//! else: each directory of the path, each symbolic link, each directory of a link's target, the file, and the
//! interpreter that its first line names. Then only root can change what the path means, and it may be run after the
//! check. The sticky bit makes no directory trusted: its other files may be replaced. With a POSIX ACL the group bits of
//! the mode are the ACL's mask (acl(5)), so that the mode shows every ACL entry that permits writing.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::unistd::{AccessFlags, User, access};

/// Links in one path that the kernel follows (MAXSYMLINKS).
const MAX_LINKS: usize = 40;
/// Interpreters of interpreters that the kernel follows (search_binary_handler()).
const MAX_INTERPRETERS: usize = 5;
/// Bytes of a file in which the kernel looks for an interpreter (BINPRM_BUF_SIZE).
const FIRST_BYTES: u64 = 256;

/// Why a program is not trusted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathError {
    /// A user other than root can change an element of the path.
    Untrusted {
        /// The element.
        element: PathBuf,
        /// Its owner's name, or number.
        owner: String,
        /// Its mode bits.
        mode: u32,
    },
    /// The program cannot be run at all.
    Unusable(String),
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathError::Untrusted { element, owner, mode } => write!(
                f,
                "users other than root can change {} (it belongs to {owner} and has mode {mode:04o})",
                element.display()
            ),
            PathError::Unusable(reason) => f.write_str(reason),
        }
    }
}

fn unusable(path: &Path, e: &io::Error) -> PathError {
    PathError::Unusable(format!("{}: {e}", path.display()))
}

/// The path of a program without symbolic links, if the program is trusted. A name without a slash is searched in PATH.
pub fn resolve_program(program: &str) -> Result<PathBuf, PathError> {
    resolve_with_interpreter(&find_program(OsStr::new(program))?, MAX_INTERPRETERS)
}

/// The path of a program, which is searched in the directories of PATH if it has no slash. A directory that is searched
/// before must be trusted too: another program of this name may appear in it.
fn find_program(program: &OsStr) -> Result<PathBuf, PathError> {
    if program.as_bytes().contains(&b'/') {
        return Ok(PathBuf::from(program));
    }
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    for dir in std::env::split_paths(&dirs) {
        let path = dir.join(program);
        if path.is_file() && access(&path, AccessFlags::X_OK).is_ok() {
            return Ok(path);
        }
        if dir.exists() {
            resolve_path(&dir)?;
        }
    }
    Err(PathError::Unusable(format!("no directory of PATH contains {}", program.display())))
}

fn resolve_with_interpreter(path: &Path, interpreters: usize) -> Result<PathBuf, PathError> {
    let resolved = resolve_path(path)?;
    let mut first = Vec::new();
    let file = File::open(&resolved).map_err(|e| unusable(&resolved, &e))?;
    file.take(FIRST_BYTES).read_to_end(&mut first).map_err(|e| unusable(&resolved, &e))?;
    if let Some((interpreter, argument)) = interpreter_line(&first) {
        let Some(left) = interpreters.checked_sub(1) else {
            return Err(PathError::Unusable(format!("{}: too many levels of interpreters", path.display())));
        };
        let interpreter = resolve_with_interpreter(Path::new(&interpreter), left)?;
        // env(1) searches in PATH for its argument. With options it may do anything.
        if interpreter.file_name() == Some(OsStr::new("env"))
            && let Some(name) = argument.filter(|a| !a.as_bytes().starts_with(b"-"))
        {
            resolve_with_interpreter(&find_program(&name)?, left)?;
        }
    }
    Ok(resolved)
}

/// The interpreter and its argument in the first line of a script (load_script() in the kernel).
fn interpreter_line(first: &[u8]) -> Option<(OsString, Option<OsString>)> {
    let line = first.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let mut words = line.split(|b| matches!(b, b' ' | b'\t')).filter(|w| !w.is_empty());
    let word = |w: &[u8]| OsStr::from_bytes(w).to_owned();
    Some((word(words.next()?), words.next().map(word)))
}

/// Follows a path element by element, as path_resolution(7) says, and checks each one.
fn resolve_path(path: &Path) -> Result<PathBuf, PathError> {
    let absolute = std::path::absolute(path).map_err(|e| unusable(path, &e))?;
    let mut resolved = PathBuf::from("/");
    check_element(&resolved)?;
    let mut pending: VecDeque<OsString> = elements(&absolute).collect();
    let mut links = 0;
    while let Some(element) = pending.pop_front() {
        if element == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&element);
        if !check_element(&next)?.is_symlink() {
            resolved = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(PathError::Unusable(format!("{}: too many levels of symbolic links", path.display())));
        }
        let target = fs::read_link(&next).map_err(|e| unusable(&next, &e))?;
        if target.is_absolute() {
            resolved = PathBuf::from("/");
        }
        for element in elements(&target).collect::<Vec<_>>().into_iter().rev() {
            pending.push_front(element);
        }
    }
    Ok(resolved)
}

/// The names in a path, and `..`.
fn elements(path: &Path) -> impl Iterator<Item = OsString> {
    let name = |c: Component<'_>| match c {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name)
}

/// Fails if a user other than root can change the element. The mode of a link has no meaning (symlink(7)).
fn check_element(path: &Path) -> Result<Metadata, PathError> {
    let meta = fs::symlink_metadata(path).map_err(|e| unusable(path, &e))?;
    let mode = meta.mode() & 0o7777;
    if meta.uid() == 0 && (meta.is_symlink() || mode & 0o022 == 0) {
        return Ok(meta);
    }
    let owner = User::from_uid(meta.uid().into()).ok().flatten().map_or(meta.uid().to_string(), |u| u.name);
    Err(PathError::Untrusted { element: path.to_owned(), owner, mode })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    use super::*;

    const OTHER_USER: u32 = 65_533;

    /// A directory that only root can change, which is removed at the end.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Option<Dir> {
            if !crate::user::is_root() {
                eprintln!("skipped: this test needs root");
                return None;
            }
            let dir = PathBuf::from(format!("/run/evenkeel-trusted-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).expect("writable");
            Some(Dir(dir))
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn script(&self, name: &str, text: &str) -> PathBuf {
            let path = self.path(name);
            fs::create_dir_all(path.parent().expect("below the directory")).expect("writable");
            fs::write(&path, text).expect("writable");
            set_mode(&path, 0o755);
            path
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    }

    fn resolve(path: &Path) -> Result<PathBuf, PathError> {
        resolve_program(path.to_str().expect("UTF-8"))
    }

    fn untrusted(path: &Path) -> PathBuf {
        match resolve(path) {
            Err(PathError::Untrusted { element, .. }) => element,
            other => panic!("{} is trusted: {other:?}", path.display()),
        }
    }

    #[test]
    fn links_of_root_are_followed_to_a_program_of_root() {
        let Some(dir) = Dir::new("links") else { return };
        let script = dir.script("lib/check.sh", "#!/bin/sh\n");
        symlink("lib/../lib/check.sh", dir.path("relative")).expect("a link");
        symlink(dir.path("relative"), dir.path("absolute")).expect("a link");
        assert_eq!(resolve(&dir.path("absolute")), Ok(script));
        symlink("loop", dir.path("loop")).expect("a link");
        assert!(matches!(resolve(&dir.path("loop")), Err(PathError::Unusable(_))));
        assert!(matches!(resolve(&dir.path("missing")), Err(PathError::Unusable(_))));
    }

    #[test]
    fn a_link_of_root_into_a_directory_of_another_user_is_not_trusted() {
        let Some(dir) = Dir::new("target") else { return };
        let script = dir.script("home/check.sh", "#!/bin/sh\n");
        chown(dir.path("home"), Some(OTHER_USER), None).expect("an owner");
        symlink(&script, dir.path("check")).expect("a link");
        assert_eq!(untrusted(&dir.path("check")), dir.path("home"));
        // The path leads out of it again: its owner can still replace the link within it.
        symlink("../lib", dir.path("home/lib")).expect("a link");
        lchown(dir.path("home/lib"), Some(0), Some(0)).expect("an owner");
        dir.script("lib/check.sh", "#!/bin/sh\n");
        assert_eq!(untrusted(&dir.path("home/lib/check.sh")), dir.path("home"));
    }

    #[test]
    fn a_link_of_another_user_is_not_trusted() {
        let Some(dir) = Dir::new("owner") else { return };
        symlink(dir.script("check.sh", "#!/bin/sh\n"), dir.path("check")).expect("a link");
        lchown(dir.path("check"), Some(OTHER_USER), None).expect("an owner");
        assert_eq!(untrusted(&dir.path("check")), dir.path("check"));
    }

    #[test]
    fn what_a_group_or_everybody_can_write_is_not_trusted_even_with_the_sticky_bit() {
        let Some(dir) = Dir::new("modes") else { return };
        let script = dir.script("tmp/check.sh", "#!/bin/sh\n");
        for mode in [0o775, 0o777, 0o1777, 0o1775] {
            set_mode(&dir.path("tmp"), mode);
            assert_eq!(untrusted(&script), dir.path("tmp"), "{mode:o}");
        }
        set_mode(&dir.path("tmp"), 0o755);
        assert!(resolve(&script).is_ok());
        set_mode(&script, 0o775);
        assert_eq!(untrusted(&script), script);
    }

    #[test]
    fn an_acl_that_permits_writing_is_not_trusted() {
        let Some(dir) = Dir::new("acl") else { return };
        let script = dir.script("check.sh", "#!/bin/sh\n");
        // Version 2; user:: rwx, user:65533 rw-, group:: r-x, mask:: rwx, other:: r-x (posix_acl_xattr.h).
        let mut acl = 2u32.to_le_bytes().to_vec();
        for (tag, perm, id) in [(1u16, 7u16, !0u32), (2, 6, OTHER_USER), (4, 5, !0), (0x10, 7, !0), (0x20, 5, !0)] {
            acl.extend(tag.to_le_bytes().into_iter().chain(perm.to_le_bytes()).chain(id.to_le_bytes()));
        }
        let set = std::process::Command::new("python3")
            .args([
                "-c",
                "import os,sys; os.setxattr(sys.argv[1], 'system.posix_acl_access', bytes.fromhex(sys.argv[2]))",
            ])
            .arg(&script)
            .arg(acl.iter().map(|b| format!("{b:02x}")).collect::<String>())
            .output();
        if !set.is_ok_and(|o| o.status.success()) {
            eprintln!("skipped: the file system has no ACLs");
            return;
        }
        assert_eq!(untrusted(&script), script);
    }

    #[test]
    fn the_interpreter_must_be_trusted_too() {
        let Some(dir) = Dir::new("interpreter") else { return };
        let shell = dir.script("bin/shell", "#!/bin/sh\n");
        let script = dir.script("check.sh", &format!("#! {} -e\n", shell.display()));
        assert_eq!(resolve(&script), Ok(script.clone()));
        chown(&shell, Some(OTHER_USER), None).expect("an owner");
        assert_eq!(untrusted(&script), shell);
        let own = dir.path("self.sh");
        dir.script("self.sh", &format!("#!{}\n", own.display()));
        assert!(matches!(resolve(&own), Err(PathError::Unusable(_))));
    }
}
