//! The check for symbolic links that another user may have made.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Permission bit of a directory to which everybody may write.
const WORLD_WRITABLE: u32 = 0o002;

/// The error for a path that leads over another user's symbolic link in a directory to which
/// everybody may write: that user would choose the files that are overwritten.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{}` is a symbolic link of another user (uid {owner}) in a directory to which everybody may write; it is not followed. Write the path that it leads to, or another path",
    link.display()
)]
pub(crate) struct ForeignLinkError {
    link: PathBuf,
    owner: u32,
}

/// Checks every component of the path. Components that do not exist pass, and so do links of this
/// user and of root.
///
/// # Errors
/// A component is a symbolic link of another user in a directory to which everybody may write.
pub(crate) fn check_foreign_links(path: &Path) -> Result<(), ForeignLinkError> {
    let own = rustix::process::geteuid().as_raw();
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for step in path.ancestors() {
        let (Ok(metadata), Some(parent)) = (step.symlink_metadata(), step.parent()) else {
            continue;
        };
        let is_foreign_link = metadata.is_symlink() && metadata.uid() != own && metadata.uid() != 0;
        let is_world_writable =
            || parent.metadata().is_ok_and(|parent| parent.mode() & WORLD_WRITABLE != 0);
        if is_foreign_link && is_world_writable() {
            return Err(ForeignLinkError { link: step.to_owned(), owner: metadata.uid() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};

    #[test]
    fn symlinks_of_other_users_in_world_writable_directories_are_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink("/var", &link).unwrap();
        let below = link.join("output/deep");
        check_foreign_links(&below).unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
        check_foreign_links(&below).expect("the link is our own");
        // Only root can change the owner.
        if lchown(&link, Some(65_534), None).is_ok() {
            let refused = check_foreign_links(&below).unwrap_err().to_string();
            assert!(
                refused.contains(link.to_str().unwrap()) && refused.contains("65534"),
                "{refused}"
            );
            fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
            check_foreign_links(&below).expect("nobody else could have made the link here");
        }
    }
}
