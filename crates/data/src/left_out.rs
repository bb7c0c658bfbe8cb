//! Training samples to leave out, listed in a file by their indices, such as samples with doubtful labels.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use waxwork_core::hash::sha256;

use crate::{Dataset, DatasetInfo, Error, Result};

/// The text before the data set's identity in the first line.
const HEAD: &str = "data ";

/// The samples of one data set to leave out, by their indices in its original training part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The identity of the data set that the indices belong to ([`DatasetInfo::identity`]).
    pub identity: String,
    /// The indices.
    pub indices: BTreeSet<u32>,
}

impl LeftOut {
    /// Reads a file in the format of its `Display`.
    ///
    /// # Errors
    /// If the file cannot be read or has another format.
    pub fn read(path: &Path) -> Result<Self> {
        let found = |line: usize, text: &str| {
            let text: String = text.chars().take(60).collect();
            Error::format(path, "`data IDENTITY`, then one number per line", format!("line {line}: {text}"))
        };
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default();
        let identity = head.strip_prefix(HEAD).ok_or_else(|| found(1, head))?.trim().to_owned();
        let number = |(i, line): (usize, &str)| line.trim().parse().map_err(|_| found(i + 2, line));
        let indices = lines.enumerate().filter(|(_, line)| !line.trim().is_empty()).map(number);
        Ok(Self { identity, indices: indices.collect::<Result<_>>()? })
    }

    /// Returns the data set without these samples, with its own identity. Its validation and test parts do
    /// not change.
    pub(crate) fn apply(&self, data: Dataset, path: &Path) -> Result<Dataset> {
        let Dataset { info, train, .. } = &data;
        if self.identity != info.identity {
            let expected =
                format!("numbers for the present contents of data set `{}` ({})", info.name, info.identity);
            return Err(Error::format(path, expected, format!("numbers for {}", self.identity)));
        }
        let kept = (0..train.len()).filter(|&position| !self.indices.contains(&train.indices()[position]));
        let kept: Vec<usize> = kept.collect();
        if kept.is_empty() {
            let reason = format!("{} leaves no image to train on", path.display());
            return Err(Error::Config { key: "data.leave_out", reason });
        }
        let train = train.at(&kept);
        let identity = sha256(self.to_string().as_bytes());
        Ok(Dataset { info: DatasetInfo { identity, ..info.clone() }, train, ..data })
    }
}

/// A line `data IDENTITY`, then one index per line.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}{}", self.identity)?;
        self.indices.iter().try_for_each(|index| writeln!(f, "{index}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataConfig, load};

    #[test]
    fn leaves_the_samples_in_a_file_out_of_training_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("doubts.txt");
        let whole = load(&DataConfig { limit: Some(100), ..DataConfig::named("digits") }).unwrap();
        let indices: BTreeSet<u32> = whole.train.indices()[10..20].iter().copied().collect();
        let left_out = LeftOut { identity: whole.info.identity.clone(), indices };
        std::fs::write(&path, left_out.to_string()).unwrap();
        assert_eq!(LeftOut::read(&path).unwrap(), left_out);
        let config =
            DataConfig { limit: Some(100), leave_out: Some(path.clone()), ..DataConfig::named("digits") };
        let less = load(&config).unwrap();
        let expected: Vec<u32> = [&whole.train.indices()[..10], &whole.train.indices()[20..]].concat();
        assert_eq!(less.train.indices(), expected);
        assert_eq!(less.validation.indices(), whole.validation.indices());
        assert_ne!(less.info.identity, whole.info.identity);

        let other = load(&DataConfig { seed: 1, ..config }).unwrap_err().to_string();
        assert!(other.contains("present contents of data set"), "{other}");
        for wrong in ["", "17\n", "data x\n1\ntwo\n", "data x\n-1\n"] {
            std::fs::write(&path, wrong).unwrap();
            assert!(matches!(LeftOut::read(&path), Err(Error::Format { .. })), "{wrong}");
        }
    }
}
