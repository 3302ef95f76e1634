//! Pulls one environment into a home and prints what it got: `pull HOME NAME`.

use std::path::Path;
use std::process::ExitCode;

use pyro_image::{Catalog, Progress};

struct Print;

impl Progress for Print {
    fn phase(&self, name: &str, detail: &str) {
        eprintln!("{name}: {detail}");
    }
    fn advance(&self, _done: u64, _total: Option<u64>) {}
    fn cancelled(&self) -> bool {
        false
    }
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().collect();
    let [_, home, name] = &args[..] else {
        eprintln!("usage: pull HOME NAME");
        return ExitCode::from(2);
    };
    match Catalog::open(Path::new(home)).and_then(|catalog| catalog.pull(name, &Print)) {
        Ok(environment) => {
            println!("{environment:#?}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
