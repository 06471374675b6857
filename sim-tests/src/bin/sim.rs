//! The command `sim`: runs, draws and shrinks simulations of chime.

fn main() -> std::process::ExitCode {
    chime_sim_tests::chime::main()
}
