//! Which files are read, and which are refused.

use super::*;

fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

/// What is wrong with the files under a directory, without its name.
fn refused(base: &Path, euid_is_root: bool) -> (Vec<String>, usize) {
    let error = config::read_files_under(base, None, euid_is_root).unwrap_err();
    assert!(!error.to_string().is_empty());
    let shorten = |d: &config::Diagnostic| {
        d.to_string()
            .replace(&format!("{}/", base.display()), "")
            .replace(&base.display().to_string(), ".")
    };
    (
        error.diagnostics.iter().map(shorten).collect(),
        error.sound.len(),
    )
}

fn base() -> tempfile::TempDir {
    let base = tempfile::tempdir().unwrap();
    fs::create_dir(base.path().join("sleepingd.conf.d")).unwrap();
    base
}

#[test]
fn the_main_file_comes_first_and_the_others_by_name() {
    let base = base();
    let directory = base.path().join("sleepingd.conf.d");
    for name in [
        "b.conf",
        "a.conf",
        "10-z.conf",
        ".hidden.conf",
        "a.conf~",
        "x.conf.dpkg-new",
    ] {
        write(&directory.join(name), name);
    }
    write(&base.path().join("sleepingd.conf"), "main");
    let files = config::read_files_under(base.path(), None, false).unwrap();
    let texts: Vec<&str> = files.iter().map(|file| file.text.as_str()).collect();
    assert_eq!(texts, ["main", "10-z.conf", "a.conf", "b.conf"]);
    assert!(files[1].path.ends_with("sleepingd.conf.d/10-z.conf"));

    // A file that is named replaces them all.
    let one = directory.join("x.conf.dpkg-new");
    let files = config::read_files_under(base.path(), Some(&one), false).unwrap();
    assert_eq!((files.len(), &files[0].path), (1, &one));
}

#[test]
fn either_the_main_file_or_the_directory_is_enough_but_one_must_be() {
    let base = tempfile::tempdir().unwrap();
    let (said, _) = refused(base.path(), false);
    assert_eq!(
        said,
        [
            "error: there is no configuration: neither sleepingd.conf nor \
             sleepingd.conf.d/*.conf exists"
        ]
    );
    write(&base.path().join("sleepingd.conf"), "");
    assert_eq!(
        config::read_files_under(base.path(), None, false)
            .unwrap()
            .len(),
        1
    );

    let base = self::base();
    write(&base.path().join("sleepingd.conf.d/a.conf"), "");
    assert_eq!(
        config::read_files_under(base.path(), None, false)
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn what_cannot_be_read_is_told_all_at_once_and_the_rest_is_read() {
    let base = base();
    let directory = base.path().join("sleepingd.conf.d");
    write(&directory.join("big.conf"), vec![b'#'; (1 << 20) + 1]);
    write(&directory.join("good.conf"), vec![b'#'; 1 << 20]);
    fs::create_dir(directory.join("directory.conf")).unwrap();
    std::os::unix::fs::symlink("nowhere", directory.join("link.conf")).unwrap();
    std::os::unix::fs::symlink("nowhere", base.path().join("sleepingd.conf")).unwrap();
    let (said, sound) = refused(base.path(), false);
    assert_eq!(
        said,
        [
            "error: sleepingd.conf: cannot be read: No such file or directory (os error 2)",
            "error: sleepingd.conf.d/big.conf: is larger than 1024 KiB, which no configuration is",
            "error: sleepingd.conf.d/directory.conf: is not a regular file",
            "error: sleepingd.conf.d/link.conf: cannot be read: No such file or directory (os \
             error 2)",
        ]
    );
    assert_eq!(sound, 1);
    let missing = base.path().join("missing");
    let error = config::read_files_under(base.path(), Some(&missing), false).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("/missing: cannot be read: No such file or directory (os error 2)")
    );
}

#[test]
fn bytes_that_are_not_utf_8_are_an_error_in_their_line() {
    let base = base();
    write(
        &base.path().join("sleepingd.conf"),
        b"# caf\xe9\n[s]\nPORT=1\nSTART_CMD=\xe9\n",
    );
    let files = config::read_files_under(base.path(), None, false).unwrap();
    let loaded = config::parse(&files, &[], Scope::System);
    assert_eq!(loaded.diagnostics.len(), 1);
    assert_eq!(loaded.diagnostics[0].origin.as_ref().unwrap().line, 4);
    assert!(loaded.diagnostics[0].message.contains("not valid UTF-8"));
}

#[test]
fn root_trusts_only_what_root_alone_can_write() {
    let base = base();
    let main = base.path().join("sleepingd.conf");
    let directory = base.path().join("sleepingd.conf.d");
    write(&main, "");
    write(&directory.join("a.conf"), "");
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&main).unwrap());
    if owner != 0 {
        // Not run as root: its owner is reason enough to refuse everything.
        let (said, sound) = refused(base.path(), true);
        assert!(
            said[0].contains(&format!("belongs to user {owner}")),
            "{said:?}"
        );
        assert_eq!(sound, 0);
        return;
    }
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for path in [base.path(), directory.as_path()] {
        mode(path, 0o755);
    }
    assert_eq!(
        config::read_files_under(base.path(), None, true)
            .unwrap()
            .len(),
        2
    );

    mode(&main, 0o664);
    let (said, sound) = refused(base.path(), true);
    assert_eq!(
        said,
        [
            "error: sleepingd.conf: the file has mode 0664: others than root may write to it, and \
             have root run anything; chmod it to 0644"
        ]
    );
    assert_eq!(sound, 1);
    assert_eq!(
        config::read_files_under(base.path(), None, false)
            .unwrap()
            .len(),
        2
    );
    assert!(config::read_files_under(base.path(), Some(&main), true).is_err());

    mode(&main, 0o600);
    mode(&directory, 0o1777);
    let (said, sound) = refused(base.path(), true);
    assert!(
        said[0].starts_with("error: sleepingd.conf.d: the directory has mode 1777"),
        "{said:?}"
    );
    assert_eq!(sound, 1);

    mode(&directory, 0o755);
    mode(base.path(), 0o775);
    assert!(refused(base.path(), true).0[0].starts_with("error: .: the directory has mode 0775"));

    mode(base.path(), 0o755);
    std::os::unix::fs::chown(&main, Some(65_534), None).unwrap();
    let (said, _) = refused(base.path(), true);
    assert_eq!(
        said,
        [
            "error: sleepingd.conf: the file belongs to user 65534, who could have root run \
             anything; chown it to root"
        ]
    );
}
