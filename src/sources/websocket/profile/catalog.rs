//! Finding a profile, built-in or in a directory of the user.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::builtin::BUILTIN;
use super::{Profile, ProfileError};
use crate::base::config_error::ConfigError;
use crate::base::env;
use crate::base::exposure::exposure_warning;
use crate::base::literal_secrets::find_literal_secrets;
use crate::base::secrets::Secrets;
use crate::base::suggest::did_you_mean;

/// Name of the profile for servers that have no profile of their own.
pub(super) const GENERIC: &str = "generic";

/// A profile that was read, or the error of it.
pub(crate) struct LoadedProfile {
    pub(crate) name: String,
    /// The profile as it is written: strings with `${NAME}` are as in the file.
    pub(crate) profile: Result<Profile, ProfileError>,
    file: PathBuf,
    text: String,
}

/// A profile and its name.
#[derive(Debug)]
pub(crate) struct NamedProfile {
    pub(crate) name: String,
    /// The profile with the environment variables that it names.
    pub(crate) profile: Profile,
    /// The profile as it is written, which may be shown.
    pub(crate) written: Profile,
    /// The texts in `profile` that must not be shown.
    pub(crate) secrets: Vec<String>,
    /// Warning that other users can read secrets in the file.
    pub(crate) exposure: Option<String>,
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
    /// Returns the profile with the environment variables that it names.
    ///
    /// # Errors
    /// The profile is invalid, or a variable is not set; the error names the file and the key.
    fn expand(self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<NamedProfile, ProfileError> {
        let Self { name, profile, file, text } = self;
        let written = profile?;
        let mut value: Value = serde_json::from_str(&text).map_err(|error| {
            ProfileError::Invalid(ConfigError::from_syntax_error(&file, &error))
        })?;
        let exposure = exposure_warning(&file, &value);
        let mut secrets = env::expand(&mut value, lookup).map_err(|problems| {
            let secrets = Secrets::default();
            ProfileError::Invalid(ConfigError::new(&file, Some(&text), problems, &secrets))
        })?;
        secrets.extend(find_literal_secrets(&value).into_iter().flat_map(|found| found.values));
        let masked = Secrets::new(secrets.iter().cloned());
        let profile = Profile::from_value(value, &file, &text, &masked)?;
        Ok(NamedProfile { name, profile, written, secrets, exposure })
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
            let profile = Profile::parse(Path::new(name), text);
            profiles.push(LoadedProfile {
                name: (*name).to_owned(),
                profile,
                file: PathBuf::from(name),
                text: (*text).to_owned(),
            });
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
    let load = |file: PathBuf| {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (profile, text) = match std::fs::read_to_string(&file) {
            Ok(text) => (Profile::parse(&file, &text), text),
            Err(error) => (Err(read_error(&file, error)), String::new()),
        };
        LoadedProfile { name, profile, file, text }
    };
    Ok(files.into_iter().map(load).collect())
}

impl ProfileQuery<'_> {
    /// Finds the profile: by its name, or else by the host, or else the generic one. Fills in the
    /// environment variables that it names.
    ///
    /// # Errors
    /// The profile is unknown or invalid. Without a name any invalid profile is an error, since it
    /// may be the one that is meant.
    pub(crate) fn find(self) -> Result<NamedProfile, ProfileError> {
        self.find_written()?.expand(&|name| std::env::var(name).ok())
    }

    fn find_written(self) -> Result<LoadedProfile, ProfileError> {
        let mut profiles = load_all(self.dir)?;
        if let Some(name) = self.name {
            let hint = did_you_mean(name, profiles.iter().map(|loaded| loaded.name.as_str()));
            let found = profiles.into_iter().find(|loaded| loaded.name == name);
            return found.ok_or(ProfileError::Unknown { name: name.to_owned(), hint });
        }
        if let Some(invalid) = profiles.iter().position(|loaded| loaded.profile.is_err()) {
            return Ok(profiles.swap_remove(invalid));
        }
        let is_for_host = |loaded: &LoadedProfile| {
            let profile = loaded.profile.as_ref().ok();
            profile.zip(self.host).is_some_and(|(profile, host)| profile.matches_host(host))
        };
        let index = profiles
            .iter()
            .position(is_for_host)
            .or_else(|| profiles.iter().position(|loaded| loaded.name == GENERIC))
            .expect("the generic profile is built in");
        Ok(profiles.swap_remove(index))
    }
}
