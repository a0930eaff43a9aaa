//! The program `dcv`. Everything is in the library, so that it can be tested.

fn main() -> std::process::ExitCode {
    dcv::run(std::env::args_os())
}
