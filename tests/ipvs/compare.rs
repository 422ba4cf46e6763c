//! The comparison of a session's output with its recording. It masks the fields that differ from run to run: remaining
//! seconds, ephemeral ports, rates.

/// The lines that differ; `None` if there are none.
pub fn difference(name: &str, recorded: &str, output: &str) -> Option<String> {
    let (a, b) = (normalize(name, recorded), normalize(name, output));
    if a == b {
        return None;
    }
    let mut text = String::new();
    for n in 0..a.len().max(b.len()) {
        let (was, is) = (a.get(n).map_or("", String::as_str), b.get(n).map_or("", String::as_str));
        if was != is {
            text += &format!("  recorded {was}\n  now      {is}\n");
        }
    }
    Some(text)
}

/// The lines of a session with masked fields. The output of a command is sorted if its order is not defined.
fn normalize(name: &str, text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut command = String::new();
    let mut block: Vec<String> = Vec::new();
    for line in text.lines().chain(["$ "]) {
        if line.starts_with("$ ") {
            // ipvsadm does not sort firewall marks above 2^31. Their order depends on the kernel's hash table.
            if name.starts_with("06")
                || command.contains("sort")
                || command.contains(" -Lnc")
                || command.contains(" -Lc")
            {
                block.sort();
            }
            out.append(&mut block);
            command = line.to_owned();
            out.push(line.to_owned());
        } else if is_compared(&command) {
            block.push(mask_variable_fields(name, &command, line));
        }
    }
    out
}

/// Whether the output of a command is compared. Files and settings of the kernel are not.
fn is_compared(command: &str) -> bool {
    command.contains("ipvsadm") || command.contains("@c ") || command.contains("@b ")
}

/// Masks the fields of a line that differ from run to run.
fn mask_variable_fields(name: &str, command: &str, line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let shows_statistics = command.contains("--rate") || command.contains("--stats");
    let traffic = name >= "30";
    for word in &mut words {
        // The kernel counts buckets, evenkeel entries.
        if word.starts_with("(size=") {
            "(size=N)".clone_into(word);
        }
        let is_time = word.len() >= 5 && word.as_bytes().get(word.len() - 3) == Some(&b':');
        if is_time && word.chars().all(|c| c.is_ascii_digit() || c == ':') && command.contains("-L") {
            "MM:SS".clone_into(word);
        }
        // Ephemeral ports; the sessions choose ports from 40001 to 40099.
        if let Some((host, port)) = word.rsplit_once(':')
            && port.parse::<u16>().is_ok_and(|p| p >= 30000 && !(40000..40100).contains(&p))
        {
            *word = format!("{host}:EPHEM");
        }
        // Rates are averages over seconds. Statistics are up to two seconds old; only session 40 waits for them.
        let may_be_late = command.contains("--rate") || !name.starts_with("40");
        let is_number = word.trim_end_matches(['K', 'M']).chars().all(|c| c.is_ascii_digit()) && !word.is_empty();
        if traffic && may_be_late && shows_statistics && is_number {
            "N".clone_into(word);
        }
    }
    // The remaining seconds in the kernel's own list.
    if command.contains("/proc/net/ip_vs_conn")
        && let Some(last) = words.last_mut()
        && last.bytes().all(|b| b.is_ascii_digit())
    {
        "N".clone_into(last);
    }
    if words.iter().any(|w| w == "N") {
        words.retain(|w| !w.is_empty());
    }
    words.join(" ")
}
