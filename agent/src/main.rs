//! `/init` of a workspace VM.

fn main() {
    pyro_agent::boot::run();
}
