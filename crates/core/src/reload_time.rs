//! The time of a planned reload, from `reload_time_file`: `HH:MM:SS` or `[YY]YY-MM-DD HH:MM:SS`, in local time, or in
//! UTC with a `Z` after it (keepalived.conf(5), "reload_time_file").

/// A date and time as written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReloadTime {
    /// Year, month (1 to 12) and day; `None` for the next occurrence of the time.
    pub date: Option<(i32, u32, u32)>,
    /// Hour, minute, second.
    pub time: (u32, u32, u32),
    /// Whether it is in UTC, not in local time.
    pub utc: bool,
}

impl ReloadTime {
    /// Parses a time. The error is a message for the operator.
    pub fn parse(text: &str) -> Result<ReloadTime, String> {
        let text = text.trim();
        let invalid =
            || format!("`{text}` is not a time: expected HH:MM:SS or YYYY-MM-DD HH:MM:SS, with Z after it for UTC");
        let (rest, utc) = text.strip_suffix(['Z', 'z']).map_or((text, false), |t| (t.trim_end(), true));
        let (date, time) = match rest.split_once(|c: char| c == 'T' || c.is_whitespace()) {
            Some((d, t)) => (Some(parse_three(d, '-').ok_or_else(invalid)?), t.trim_start()),
            None => (None, rest),
        };
        let (h, m, s) = parse_three(time, ':').ok_or_else(invalid)?;
        let date = date.map(|(y, m, d)| (if y < 100 { 2000 + y } else { y } as i32, m, d));
        let is_valid =
            h < 24 && m < 60 && s < 60 && date.is_none_or(|(_, m, d)| (1..=12).contains(&m) && (1..=31).contains(&d));
        if is_valid { Ok(ReloadTime { date, time: (h, m, s), utc }) } else { Err(invalid()) }
    }
}

/// Three numbers with `separator` separator them.
fn parse_three(text: &str, separator: char) -> Option<(u32, u32, u32)> {
    let mut parts = text.split(separator).map(|p| p.parse().ok());
    let all = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_and_without_a_date() {
        let at = |date, time, utc| Ok(ReloadTime { date, time, utc });
        assert_eq!(ReloadTime::parse("07:30:00\n"), at(None, (7, 30, 0), false));
        assert_eq!(ReloadTime::parse("2026-11-27 01:02:03Z"), at(Some((2026, 11, 27)), (1, 2, 3), true));
        assert_eq!(ReloadTime::parse("26-11-27 23:59:59"), at(Some((2026, 11, 27)), (23, 59, 59), false));
        for wrong in ["", "7", "24:00:00", "07:30", "2026-13-01 00:00:00", "07:30:00:00", "tomorrow"] {
            let e = ReloadTime::parse(wrong).expect_err(wrong);
            assert!(e.contains("HH:MM:SS"), "{e}");
        }
    }
}
