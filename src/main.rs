//! Calls the command line and returns its exit code.

mod allocator;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    ExitCode::from(mainstay::cli::main())
}
