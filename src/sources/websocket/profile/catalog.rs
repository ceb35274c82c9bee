//! Finding a profile, built-in or in a directory of the user.

use std::path::Path;

use super::builtin::BUILTIN;
use super::{Profile, ProfileError};
use crate::base::suggest::did_you_mean;

/// Name of the profile for servers that have no profile of their own.
pub(super) const GENERIC: &str = "generic";

/// A profile that was read, or the error of it.
pub(crate) struct LoadedProfile {
    pub(crate) name: String,
    pub(crate) profile: Result<Profile, ProfileError>,
}

/// A profile and its name.
#[derive(Debug)]
pub(crate) struct NamedProfile {
    pub(crate) name: String,
    pub(crate) profile: Profile,
}

/// The keys by which a profile is found.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ProfileQuery<'a> {
    /// Name of the profile.
    pub(crate) name: Option<&'a str>,
    /// Host of the URL, which decides if there is no name.
    pub(crate) host: Option<&'a str>,
    /// Directory of the user's profiles.
    pub(crate) dir: Option<&'a Path>,
}

impl LoadedProfile {
    fn into_valid(self) -> Result<NamedProfile, ProfileError> {
        Ok(NamedProfile { name: self.name, profile: self.profile? })
    }
}

/// Loads all profiles: those in `dir`, then the built-in ones whose name is not in `dir`.
///
/// # Errors
/// The directory or one of its files cannot be read. A profile that is invalid is part of the result.
pub(crate) fn load_all(dir: Option<&Path>) -> Result<Vec<LoadedProfile>, ProfileError> {
    let mut profiles = dir.map_or(Ok(Vec::new()), load_dir)?;
    for (name, text) in BUILTIN {
        if !profiles.iter().any(|loaded| loaded.name == *name) {
            let name = (*name).to_owned();
            let profile = Profile::parse(Path::new(&name), text);
            profiles.push(LoadedProfile { name, profile });
        }
    }
    Ok(profiles)
}

fn load_dir(dir: &Path) -> Result<Vec<LoadedProfile>, ProfileError> {
    let read_error = |path: &Path, reason| ProfileError::Read { path: path.to_owned(), reason };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|error| read_error(dir, error))? {
        let path = entry.map_err(|error| read_error(dir, error))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    let load = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).map_err(|error| read_error(path, error));
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        LoadedProfile { name, profile: text.and_then(|text| Profile::parse(path, &text)) }
    };
    Ok(files.iter().map(load).collect())
}

impl ProfileQuery<'_> {
    /// Finds the profile: by its name, or else by the host, or else the generic one.
    ///
    /// # Errors
    /// The profile is unknown or invalid. Without a name any invalid profile is an error, since it
    /// may be the one that is meant.
    pub(crate) fn find(self) -> Result<NamedProfile, ProfileError> {
        let profiles = load_all(self.dir)?;
        if let Some(name) = self.name {
            return find_by_name(profiles, name);
        }
        let profiles = profiles.into_iter().map(LoadedProfile::into_valid);
        let mut profiles = profiles.collect::<Result<Vec<_>, _>>()?;
        let is_for_host = |profile: &Profile| self.host.is_some_and(|h| profile.matches_host(h));
        let index = profiles
            .iter()
            .position(|named| is_for_host(&named.profile))
            .or_else(|| profiles.iter().position(|named| named.name == GENERIC))
            .expect("the generic profile is built in");
        Ok(profiles.swap_remove(index))
    }
}

fn find_by_name(profiles: Vec<LoadedProfile>, name: &str) -> Result<NamedProfile, ProfileError> {
    let hint = did_you_mean(name, profiles.iter().map(|loaded| loaded.name.as_str()));
    let name = name.to_owned();
    match profiles.into_iter().find(|loaded| loaded.name == name) {
        Some(loaded) => loaded.into_valid(),
        None => Err(ProfileError::Unknown { name, hint }),
    }
}
