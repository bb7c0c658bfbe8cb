//! Pages for a browser: one file each, with its images inside, that needs no network access.

pub(crate) mod curves;
pub(crate) mod scatter;

use base64::prelude::{BASE64_STANDARD, Engine};
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use waxwork_media::clips::Animation;
use waxwork_media::grid;

use crate::failure::Failure;

/// The templates of pages. Those that end in `.html` escape everything that is inserted.
const TEMPLATES: [(&str, &str); 9] = [
    ("page.html", include_str!("page.html")),
    ("page.css", include_str!("page.css")),
    ("page.js", include_str!("page.js")),
    ("parts.html", include_str!("parts.html")),
    ("report.html", include_str!("report.html")),
    ("compare.html", include_str!("compare.html")),
    ("rate.html", include_str!("rate.html")),
    ("sampler.html", include_str!("sampler.html")),
    ("sampler.js", include_str!("sampler.js")),
];

/// Renders the template called `name` with the values of `shown`.
pub(crate) fn page(name: &str, shown: &impl Serialize) -> Result<String, Failure> {
    let mut templates = Environment::new();
    // A misspelt name must be an error, not an empty place.
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    for (name, text) in TEMPLATES {
        templates.add_template(name, text)?;
    }
    Ok(templates.get_template(name)?.render(Serde(shown))?)
}

/// An image inside a page.
#[derive(Debug, Serialize)]
pub(crate) struct Image {
    /// A `data:` address.
    source: String,
    /// The `data:` address of one frame, if the image moves, for paper and for readers who want less motion.
    still: Option<String>,
    width: u32,
    height: u32,
    /// A description for readers who cannot see the image.
    alt: String,
}

impl Image {
    /// Encodes a grid.
    pub(crate) fn new(picture: &grid::Picture, alt: impl Into<String>) -> Result<Self, Failure> {
        let (width, height) = (picture.width as u32, picture.height as u32);
        Ok(Self { source: address(&picture.png()?), still: None, width, height, alt: alt.into() })
    }

    /// Encodes an animation and its first frame.
    pub(crate) fn moving(animation: &Animation, alt: impl Into<String>) -> Result<Self, Failure> {
        let still = Self::new(&animation.still(), alt)?;
        Ok(Self { source: address(&animation.apng()?), still: Some(still.source), ..still })
    }

    /// The same image with its first frame, if these bytes of its PNG file are an animation.
    pub(crate) fn with_still(self, bytes: &[u8]) -> Self {
        Self { still: first_frame(bytes).map(|still| address(&still)), ..self }
    }

    /// Embeds the bytes of a PNG file; None if they are not one.
    pub(crate) fn of_png(bytes: &[u8], alt: impl Into<String>) -> Option<Self> {
        // Signature, then the header chunk: length, name, width, height.
        let side = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") || bytes.get(12..16)? != b"IHDR" {
            return None;
        }
        let (width, height) = (side(16)?, side(20)?);
        Some(Self { source: address(bytes), still: None, width, height, alt: alt.into() })
    }
}

/// The first frame of an animated PNG, as a PNG file of its own; None for other files. The chunks of the
/// animation are ancillary, so a file without them is the first frame.
fn first_frame(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut still = bytes.get(..8)?.to_vec();
    let (mut at, mut moves) = (8, false);
    while let Some(head) = bytes.get(at..at + 8) {
        let length = u32::from_be_bytes(head[..4].try_into().ok()?) as usize;
        let end = at.checked_add(12)?.checked_add(length)?;
        let chunk = bytes.get(at..end)?;
        match &head[4..] {
            b"acTL" => moves = true,
            b"fcTL" | b"fdAT" => {}
            _ => still.extend_from_slice(chunk),
        }
        at = end;
    }
    moves.then_some(still)
}

/// A PNG file as a `data:` address.
pub(crate) fn address(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png))
}

/// A WAV file as a `data:` address.
pub(crate) fn sound_address(wav: &[u8]) -> String {
    format!("data:audio/wav;base64,{}", BASE64_STANDARD.encode(wav))
}

/// Quotes a word of a command line as one would type it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=./:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_cannot_become_markup() {
        let name = "a<b>&\"c</script>'";
        let shown = json!({"run": name, "what": "images", "questions": [[name, "x", "left"]], "intervals": [[0.0, 1.0]]});
        let page = page("rate.html", &shown).unwrap();
        assert!(page.contains("a&lt;b&gt;&amp;&quot;c&lt;"), "{page}");
        assert!(
            page.contains(r#"["a\u003cb\u003e\u0026\"c\u003c/script\u003e\u0027", "x", "left"]"#),
            "{page}"
        );
        assert_eq!(page.matches("</script>").count(), 1);
    }

    #[test]
    fn rejects_missing_values() {
        let failure =
            page("rate.html", &json!({"what": "images", "questions": [], "intervals": []})).unwrap_err();
        assert!(failure.message.contains("undefined"), "{}", failure.message);
    }

    #[test]
    fn a_picture_knows_its_size() {
        let picture = grid::Picture { width: 3, height: 2, channels: 1, pixels: vec![0; 6] };
        let png = picture.png().unwrap();
        let image = Image::of_png(&png, "nothing").unwrap();
        assert_eq!((image.width, image.height), (3, 2));
        assert_eq!(image.source, Image::new(&picture, "").unwrap().source);
        assert!(Image::of_png(&png[..20], "").is_none() && Image::of_png(b"GIF89a", "").is_none());
    }

    #[test]
    fn words_of_a_command_line() {
        assert_eq!(quoted("runs/a-1"), "runs/a-1");
        assert_eq!(quoted("my runs/it's"), r"'my runs/it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
