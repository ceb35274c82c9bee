//! Symbolic links that somebody else may have laid.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Anybody may write to a directory of this mode.
const WORLD_WRITABLE: u32 = 0o002;

/// A path that leads over another user's symbolic link, in a directory to which everybody may write:
/// whoever laid it chooses what is overwritten.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{}` is a symbolic link of another user (uid {owner}) in a directory to which everybody may write; it is not followed. Name the place that it leads to, or one that is yours",
    link.display()
)]
pub(crate) struct ForeignLinkError {
    link: PathBuf,
    owner: u32,
}

/// Looks at every step of the path. What does not exist is nobody's.
pub(crate) fn check_foreign_links(path: &Path) -> Result<(), ForeignLinkError> {
    let own = rustix::process::geteuid().as_raw();
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for step in path.ancestors() {
        let (Ok(found), Some(parent)) = (step.symlink_metadata(), step.parent()) else { continue };
        let foreign = found.is_symlink() && found.uid() != own && found.uid() != 0;
        let open = || parent.metadata().is_ok_and(|parent| parent.mode() & WORLD_WRITABLE != 0);
        if foreign && open() {
            return Err(ForeignLinkError { link: step.to_owned(), owner: found.uid() });
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
        // Only root can give it to somebody else.
        if lchown(&link, Some(65_534), None).is_ok() {
            let refused = check_foreign_links(&below).unwrap_err().to_string();
            assert!(
                refused.contains(link.to_str().unwrap()) && refused.contains("65534"),
                "{refused}"
            );
            fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
            check_foreign_links(&below).expect("nobody else could have laid it here");
        }
    }
}
