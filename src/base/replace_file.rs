//! Writing of a whole file that may exist already.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use super::symlinks::check_foreign_links;

/// Writes the file, in place of one that exists. The new content is written beside it first, under a
/// name that nobody else has: a file or link that another user puts there is replaced and not
/// written to.
///
/// # Errors
/// The path leads over another user's link, or the file cannot be written. What was there stays.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    check_foreign_links(path).map_err(io::Error::other)?;
    // The user's own link is followed.
    let target = match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        target => target?,
    };
    let existing = fs::metadata(&target).ok();
    if let Some(kind) = existing.as_ref().map(fs::Metadata::file_type)
        && (kind.is_fifo() || kind.is_char_device() || kind.is_block_device())
    {
        return OpenOptions::new().write(true).open(&target)?.write_all(content);
    }
    let name = target.file_name().ok_or(ErrorKind::IsADirectory)?.to_string_lossy();
    let temp = target.with_file_name(format!(".{name}.{:016x}.tmp", fastrand::u64(..)));
    let written =
        OpenOptions::new().write(true).create_new(true).open(&temp).and_then(|mut file| {
            file.write_all(content)?;
            if let Some(existing) = &existing {
                file.set_permissions(existing.permissions())?;
            }
            fs::rename(&temp, &target)
        });
    written.inspect_err(|_| {
        // The error of the write tells more than one of this.
        drop(fs::remove_file(&temp));
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink};

    #[test]
    fn a_file_is_replaced_with_its_mode_and_an_own_link_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("report");
        replace_file(&file, b"1").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
        let link = dir.path().join("link");
        symlink("report", &link).unwrap();
        let before = fs::metadata(&file).unwrap().ino();
        replace_file(&link, b"2").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"2");
        let after = fs::metadata(&file).unwrap();
        assert_eq!(after.mode() & 0o777, 0o604);
        assert_ne!(after.ino(), before, "another file has the name");
        assert!(replace_file(dir.path(), b"3").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn another_users_link_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
        let link = open.join("report.html");
        symlink(&victim, &link).unwrap();
        // Only root can change the owner.
        if lchown(&link, Some(65_534), None).is_ok() {
            let refused = replace_file(&link, b"x").unwrap_err().to_string();
            assert!(refused.contains("symbolic link of another user"), "{refused}");
            assert_eq!(fs::read(&victim).unwrap(), b"precious");
        }
    }
}
