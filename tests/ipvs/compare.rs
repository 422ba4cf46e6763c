//! What two runs of a session have in common, and what they cannot: seconds that are left, ports that the kernel chose,
//! rates.

/// What is different, line by line; `None` if nothing is.
pub fn difference(name: &str, recorded: &str, got: &str) -> Option<String> {
    let (a, b) = (normalize(name, recorded), normalize(name, got));
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

/// A session's lines; those that a command printed sorted where their order says nothing.
fn normalize(name: &str, text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut command = String::new();
    let mut block: Vec<String> = Vec::new();
    for line in text.lines().chain(["$ "]) {
        if line.starts_with("$ ") {
            // Marks beyond 2^31 have no place in ipvsadm's order: it depends on where the kernel's hash put them.
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

/// Is it our program that printed it? The kernel's own files and settings are not compared.
fn is_compared(command: &str) -> bool {
    command.contains("ipvsadm") || command.contains("@c ") || command.contains("@b ")
}

fn mask_variable_fields(name: &str, command: &str, line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let numbers_of_traffic = command.contains("--rate") || command.contains("--stats");
    let traffic = name >= "30";
    for word in &mut words {
        // Of the kernel buckets, of ours entries.
        if word.starts_with("(size=") {
            "(size=N)".clone_into(word);
        }
        let is_time = word.len() >= 5 && word.as_bytes().get(word.len() - 3) == Some(&b':');
        if is_time && word.chars().all(|c| c.is_ascii_digit() || c == ':') && command.contains("-L") {
            "MM:SS".clone_into(word);
        }
        // A port that was not asked for: those that were are 40001 to 40099.
        if let Some((host, port)) = word.rsplit_once(':')
            && port.parse::<u16>().is_ok_and(|p| p >= 30000 && !(40000..40100).contains(&p))
        {
            *word = format!("{host}:EPHEM");
        }
        // Rates are averages over seconds; statistics are up to two seconds old, which session 40 waits for.
        let slow = command.contains("--rate") || !name.starts_with("40");
        let digits = word.trim_end_matches(['K', 'M']).chars().all(|c| c.is_ascii_digit()) && !word.is_empty();
        if traffic && slow && numbers_of_traffic && digits {
            "N".clone_into(word);
        }
    }
    // The seconds that are left, in the kernel's own list.
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
