//! What `mmdebstrap --verbose` and the apt and dpkg below it say about where they are.

use crate::Progress;

/// Turns output lines into progress.
#[derive(Debug, Default)]
pub(crate) struct AptOutput {
    phase: Option<&'static str>,
    done: u64,
    total: Option<u64>,
}

impl AptOutput {
    /// Takes one line of output, without its line end.
    pub fn line(&mut self, line: &str, progress: &dyn Progress) {
        if line.starts_with("I: running apt-get update") {
            self.enter("fetch package lists", line, progress);
        } else if line.starts_with("I: downloading packages") {
            self.enter("download packages", line, progress);
        } else if line.starts_with("Need to get ") {
            // Said once for the essential packages and once more for the rest.
            if let Some(bytes) = bytes(line.trim_start_matches("Need to get ")) {
                self.total = Some(self.done + bytes);
            }
        } else if line.starts_with("Get:") {
            if let Some(size) = line.rsplit_once('[').and_then(|(_, size)| bytes(size)) {
                self.done += size;
                progress.advance(self.done, self.total);
            }
        } else if line.starts_with("Unpacking ") || line.starts_with("Setting up ") {
            self.enter("install packages", line, progress);
        } else if let Some(detail) = line.strip_prefix("pyro: ") {
            self.enter("fetch kernel", detail, progress);
        }
    }

    fn enter(&mut self, phase: &'static str, line: &str, progress: &dyn Progress) {
        if self.phase != Some(phase) {
            *self = Self { phase: Some(phase), ..Self::default() };
        }
        let detail: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
        progress.phase(phase, detail.trim_start_matches("I: ").trim_end_matches("..."));
    }
}

/// `"29.7 MB of archives."` and `"206 kB]"` as bytes; apt counts in thousands.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = text.split_once(' ')?;
    // Of an interrupted download apt says `1.2 MB/29 MB`.
    let number: f64 = number.replace(',', "").parse().ok()?;
    let factor = match unit.trim_start().get(..2).unwrap_or(unit) {
        "B]" | "B " | "B/" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return None,
    };
    Some((number * factor) as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Progress for Heard {
        fn phase(&self, name: &str, detail: &str) {
            self.0.lock().unwrap().push(format!("{name}: {detail}"));
        }
        fn advance(&self, done: u64, total: Option<u64>) {
            self.0.lock().unwrap().push(format!("{done} of {total:?}"));
        }
        fn cancelled(&self) -> bool {
            false
        }
    }

    #[test]
    fn real_output_becomes_phases_and_bytes() {
        let heard = Heard::default();
        let mut output = AptOutput::default();
        for line in [
            "I: automatically chosen format: tar",
            "I: running apt-get update...",
            "Get:1 http://mirror/debian bookworm InRelease [151 kB]",
            "I: downloading packages with apt...",
            "Need to get 29.7 MB of archives.",
            "Get:2 http://mirror/debian bookworm/main amd64 gcc-12-base amd64 12.2.0-14 [37.6 kB]",
            "Get:3 http://mirror/debian bookworm/main amd64 x amd64 1 [512 B]",
            "Setting up libc6:amd64 (2.36) \u{1b}[0m...",
            "pyro: linux-image-6.1.0-1-cloud-amd64",
            "Get:x [y",
        ] {
            output.line(line, &heard);
        }
        assert_eq!(
            *heard.0.lock().unwrap(),
            [
                "fetch package lists: running apt-get update",
                "151000 of None",
                "download packages: downloading packages with apt",
                "37600 of Some(29700000)",
                "38112 of Some(29700000)",
                "install packages: Setting up libc6:amd64 (2.36) [0m",
                "fetch kernel: linux-image-6.1.0-1-cloud-amd64",
            ]
        );
    }
}
