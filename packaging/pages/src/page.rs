//! The prose of a page, with its directives carried out.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use crate::directive;

/// A manual page.
pub struct Page {
    /// Its file: `NAME.SECTION`.
    pub name: String,
    pub text: Vec<u8>,
}

/// Why there is no page.
#[derive(Debug)]
pub enum PageError {
    /// A file of ours cannot be read.
    Read(PathBuf, io::Error),
    /// A line asks for what is not there.
    Directive {
        page: String,
        line: usize,
        why: String,
    },
}

/// A file of this crate.
pub fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub fn read(path: &Path) -> Result<String, PageError> {
    fs::read_to_string(path).map_err(|e| PageError::Read(path.to_owned(), e))
}

/// A page for each file of `prose/`, in the order of their names.
pub fn all() -> Result<Vec<Page>, PageError> {
    let directory = here("prose");
    let unread = |e| PageError::Read(directory.clone(), e);
    let mut paths = Vec::new();
    for entry in fs::read_dir(&directory).map_err(unread)? {
        paths.push(entry.map_err(unread)?.path());
    }
    paths.sort();
    paths.iter().map(|path| page(path)).collect()
}

fn page(path: &Path) -> Result<Page, PageError> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut text = String::new();
    for (at, line) in read(path)?.lines().enumerate() {
        let made = match line.strip_prefix("@@") {
            Some(asked) => directive::carry_out(asked, &name),
            None => Ok(format!("{line}\n")),
        };
        text += &made.map_err(|why| PageError::Directive {
            page: name.clone(),
            line: at + 1,
            why,
        })?;
    }
    Ok(Page {
        name,
        text: text.into_bytes(),
    })
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, e) => write!(f, "{}: {e}", path.display()),
            Self::Directive { page, line, why } => write!(f, "prose/{page}:{line}: {why}"),
        }
    }
}
