//! popt's rules for options: bundles (`-Lnc`), `-xVALUE`, `--long=VALUE`, `--`.

use super::options::{OPTION_SPECS, Opt, OptionSpec};

/// Reads options from arguments.
pub struct OptionReader<'a> {
    args: std::slice::Iter<'a, String>,
    /// The unread options of a bundle, as `nc` of `-Lnc`.
    bundle: &'a str,
    /// Arguments that are not options, read so far.
    pub positional: Vec<&'a str>,
    /// `--` was read: only positional arguments follow.
    options_ended: bool,
}

/// An option as it was given.
pub struct GivenOption<'a> {
    pub spec: &'static OptionSpec,
    /// `-D`, `--delete-service`
    pub written: String,
    /// Empty if the option takes none.
    pub value: &'a str,
}

impl<'a> OptionReader<'a> {
    pub fn new(args: &'a [String]) -> Self {
        OptionReader { args: args.iter(), bundle: "", positional: Vec::new(), options_ended: false }
    }

    /// The next option, `None` at the end. An error is popt's message.
    pub fn next(&mut self) -> Option<Result<GivenOption<'a>, String>> {
        if let Some(c) = self.bundle.chars().next() {
            self.bundle = &self.bundle[c.len_utf8()..];
            return Some(self.parse_short(c));
        }
        loop {
            let arg = self.args.next()?.as_str();
            if self.options_ended || !arg.starts_with('-') || arg == "-" {
                self.positional.push(arg);
            } else if arg == "--" {
                self.options_ended = true;
            } else if let Some(long) = arg.strip_prefix("--") {
                return Some(self.parse_long(long));
            } else {
                let mut letters = arg.chars();
                letters.next();
                let first = letters.next()?;
                self.bundle = letters.as_str();
                return Some(self.parse_short(first));
            }
        }
    }

    fn parse_short(&mut self, c: char) -> Result<GivenOption<'a>, String> {
        let written = format!("-{c}");
        let found = OPTION_SPECS.iter().find(|s| s.short == c && c != '\0');
        let spelling = found.ok_or_else(|| format!("{written}: unknown option"))?;
        let mut value = "";
        if spelling.takes_value {
            value = std::mem::take(&mut self.bundle);
            if value.is_empty() {
                value = self.next_value(spelling, &written)?;
            }
        }
        Ok(GivenOption { spec: spelling, written, value })
    }

    fn parse_long(&mut self, text: &'a str) -> Result<GivenOption<'a>, String> {
        let (name, joined) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let written = format!("--{name}");
        let found = OPTION_SPECS.iter().find(|s| s.long == name);
        let spelling = found.ok_or_else(|| format!("{written}: unknown option"))?;
        let value = match (spelling.takes_value, joined) {
            (true, Some(value)) => value,
            (true, None) => self.next_value(spelling, &written)?,
            // `--sort=correct`, an extension.
            (false, Some(value)) if spelling.option == Opt::Sort => value,
            (false, Some(_)) => return Err(format!("{written}: option does not take an argument")),
            (false, None) => "",
        };
        Ok(GivenOption { spec: spelling, written, value })
    }

    fn next_value(&mut self, spelling: &OptionSpec, written: &str) -> Result<&'a str, String> {
        // Without a value `-p` has ipvsadm's default; `--watch` is an extension.
        let default = match spelling.option {
            Opt::Persistent => Some("360"),
            Opt::Watch => Some("2"),
            _ => None,
        };
        match (self.args.as_slice().first(), default) {
            (None, Some(default)) => Ok(default),
            (Some(next), Some(default)) if next.starts_with('-') => Ok(default),
            (None, None) => Err(format!("{written}: missing argument")),
            (Some(next), _) => {
                self.args.next();
                Ok(next)
            }
        }
    }
}
