//! Parses ipvsadm's arguments into an [`Action`], with ipvsadm's error messages and exit statuses.

mod given_options;
mod to_action;

#[cfg(test)]
mod tests;

use self::given_options::GivenOptions;
use super::action::{Action, CommandError, DataPlaneChoice, EXIT_FAILED, EXIT_USAGE, ListOptions};
use super::options::{Command, Opt};
use super::popt::OptionReader;

/// The end of popt's errors; also printed if the command is missing.
const USAGE_HINT: &str = "Try `ipvsadm -h' or 'ipvsadm --help' for more information.";

type Result<T> = std::result::Result<T, CommandError>;

fn usage_error<T>(text: impl Into<String>) -> Result<T> {
    Err(CommandError(text.into(), EXIT_USAGE))
}

/// Parses arguments. `nested`: they are a line of `-R`, in which no further `-R` is allowed.
pub fn parse(args: &[String], nested: bool) -> Result<(Action, DataPlaneChoice)> {
    let usage_hint = || CommandError(USAGE_HINT.into(), EXIT_FAILED);
    let mut given = GivenOptions::default();
    let mut reader = OptionReader::new(args);
    let mut command = None;
    while let Some(option) = reader.next() {
        // `--dataplane`, an extension, may precede the command.
        if let Ok(o) = &option
            && o.spec.option == Opt::DataPlane
        {
            given.set_data_plane(o.value)?;
            continue;
        }
        match (command, option) {
            (None, Ok(o)) => match Command::from_option(o.spec.option) {
                Some(Command::Restore) if nested => return Err(usage_hint()),
                Some(c) => {
                    if matches!(c, Command::StartDaemon | Command::StopDaemon) {
                        given.set_sync_role(c, o.value)?;
                    }
                    command = Some(c);
                }
                None => return Err(usage_hint()),
            },
            (None, Err(_)) => return Err(usage_hint()),
            (Some(_), Ok(o)) => given.set_option(&o)?,
            (Some(_), Err(text)) => return Err(CommandError(text, EXIT_FAILED)),
        }
    }
    let positional = reader.positional;
    let plane = given.plane;
    let Some(command) = command else {
        // Without arguments ipvsadm lists.
        if positional.is_empty() {
            return Ok((Action::List(ListOptions::default()), plane));
        }
        return Err(usage_hint());
    };
    match command {
        Command::Help => return Ok((Action::Help, plane)),
        Command::Version => return Ok((Action::Version, plane)),
        _ => {}
    }
    let unexpected =
        if command == Command::Set { given.set_timeouts(&positional)? } else { positional.first().copied() };
    if let Some(argument) = unexpected {
        return usage_error(format!("unexpected argument {argument}"));
    }
    command.check_options(&given.options).map_err(|text| CommandError(text, EXIT_USAGE))?;
    Ok((given.to_action(command)?, plane))
}

/// A decimal number in a range.
fn parse_number(text: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    digits.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    digits.parse().ok().filter(|n| range.contains(n))
}
