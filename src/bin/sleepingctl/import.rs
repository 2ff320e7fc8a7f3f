//! `sleepingctl import`: what ynetd was told, as sections on standard output. No daemon is asked.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    process::ExitCode,
};

use sleepingd::{
    cli::sleepingctl::ImportArgs,
    config::{
        SourceFile,
        import::{Arguments, MAX_FILE_SIZE, Refused, import as sections},
    },
};

use super::{CONFIG, fail, print};

pub(super) fn import(args: &ImportArgs) -> ExitCode {
    let arguments = match Arguments::read(&args.argument) {
        Ok(arguments) => arguments,
        Err(refused) => return tell(&refused),
    };
    let file = match args.file.clone().or_else(|| arguments.config()) {
        Some(path) => match read(&path) {
            Ok(file) => Some(file),
            Err(e) => return fail(&format!("cannot read {}: {e}", path.display()), CONFIG),
        },
        None => None,
    };
    match sections(file.as_ref(), &arguments) {
        Ok(imported) => {
            let warnings = &imported.warnings;
            warnings.iter().for_each(|warning| eprintln!("{warning}"));
            print(&imported.text, 0)
        }
        Err(refused) => tell(&refused),
    }
}

fn tell(refused: &Refused) -> ExitCode {
    let diagnostics = &refused.diagnostics;
    diagnostics.iter().for_each(|one| eprintln!("{one}"));
    fail("this cannot be imported; nothing was written", CONFIG)
}

fn read(path: &Path) -> io::Result<SourceFile> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE_SIZE + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        let message = format!("it is larger than {} KiB", MAX_FILE_SIZE >> 10);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        let message = "it is not UTF-8";
        io::Error::new(io::ErrorKind::InvalidData, message)
    })?;
    Ok(SourceFile {
        path: path.to_owned(),
        text,
    })
}
