//! When a reload is to be, as `reload_time_file` says it: `HH:MM:SS` or `[YY]YY-MM-DD HH:MM:SS`, in local time, or with a `Z`
//! behind it in UTC (keepalived.conf(5), "reload_time_file").

/// A moment as people write it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReloadTime {
    /// Year, month (1 to 12) and day; `None` for the next time that it is that late.
    pub date: Option<(i32, u32, u32)>,
    /// Hour, minute, second.
    pub time: (u32, u32, u32),
    /// In UTC, and not in local time.
    pub utc: bool,
}

impl ReloadTime {
    /// Reads it; an error says what is expected.
    pub fn parse(text: &str) -> Result<ReloadTime, String> {
        let text = text.trim();
        let bad =
            || format!("`{text}` is no time: expected HH:MM:SS or YYYY-MM-DD HH:MM:SS, perhaps with a Z behind it");
        let (rest, utc) = text.strip_suffix(['Z', 'z']).map_or((text, false), |t| (t.trim_end(), true));
        let (date, time) = match rest.split_once(|c: char| c == 'T' || c.is_whitespace()) {
            Some((d, t)) => (Some(parse_three(d, '-').ok_or_else(bad)?), t.trim_start()),
            None => (None, rest),
        };
        let (h, m, s) = parse_three(time, ':').ok_or_else(bad)?;
        let date = date.map(|(y, m, d)| (if y < 100 { 2000 + y } else { y } as i32, m, d));
        let fits =
            h < 24 && m < 60 && s < 60 && date.is_none_or(|(_, m, d)| (1..=12).contains(&m) && (1..=31).contains(&d));
        if fits { Ok(ReloadTime { date, time: (h, m, s), utc }) } else { Err(bad()) }
    }
}

fn parse_three(text: &str, between: char) -> Option<(u32, u32, u32)> {
    let mut parts = text.split(between).map(|p| p.parse().ok());
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
