//! Writes the manual pages and the completions of shells, for a package:
//!
//! ```text
//! sleepingd-pages OUTDIR
//!     OUTDIR/man/NAME.SECTION                 from prose/, and the tables of the parsers
//!     OUTDIR/completions/{bash,zsh,fish}/...  from the parsers' command lines
//! ```
//!
//! What is written depends on the sources alone, and on SOURCE_DATE_EPOCH where a builder sets it.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`page`] | the prose of a page, with its directives carried out |
//! | [`directive`] | what a line of the prose that begins with `@@` asks for |
//! | [`synopsis`] | a program's options and commands, from its command line |
//! | [`keys`] | the keys of the configuration, from the parser's table |
//! | [`release`] | which version this is, and of which day |
//! | [`roff`] | text in the language of manual pages |
//! | [`completions`] | what the shells are told |

mod completions;
mod directive;
mod keys;
mod page;
mod release;
mod roff;
mod synopsis;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// EX_USAGE: the command line.
const USAGE: u8 = 64;

/// Why a file was not written.
#[derive(Debug)]
enum Failure {
    /// It is not as it must be.
    Page(page::PageError),
    /// It cannot be read or written.
    File(PathBuf, io::Error),
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(out), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: sleepingd-pages OUTDIR");
        return ExitCode::from(USAGE);
    };
    match write_all(Path::new(&out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Page(e)) => fail(&e.to_string()),
        Err(Failure::File(path, e)) => fail(&format!("{}: {e}", path.display())),
    }
}

fn write_all(out: &Path) -> Result<(), Failure> {
    for page in page::all().map_err(Failure::Page)? {
        write(&out.join("man").join(&page.name), &page.text)?;
    }
    for completion in completions::all() {
        let path = out.join("completions").join(completion.path);
        write(&path, &completion.text)?;
    }
    Ok(())
}

fn write(path: &Path, text: &[u8]) -> Result<(), Failure> {
    let failed = |e| Failure::File(path.to_owned(), e);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    fs::write(path, text).map_err(failed)
}

fn fail(what: &str) -> ExitCode {
    eprintln!("sleepingd-pages: {what}");
    ExitCode::FAILURE
}
