//! Files of texts: plain, labelled and JSON lines, and the vocabulary of what is in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waxwork_data::text::{LineFormat, Unit, Vocabulary, lines};
use waxwork_fuzz::seed;

fuzz_target!(
    init: {
        seed("lines", "plain", b"\0the cat sat\nthe dog\r\n\n");
        seed("lines", "labelled", b"\x01good\tnice film\nbad\tdull\n");
        seed("lines", "json", b"\x02{\"text\": \"a b\", \"label\": 3}\n{\"text\": \"\", \"label\": \"x\"}\n");
    },
    |bytes: &[u8]| {
        let Some((first, bytes)) = bytes.split_first() else { return };
        let format = [LineFormat::Plain, LineFormat::Labelled, LineFormat::Json][usize::from(first % 3)];
        let Ok(found) = lines::parse(format, bytes, first & 4 != 0) else { return };
        assert!(!found.is_empty() && found.is_sorted_by(|a, b| a.number < b.number));
        for unit in [Unit::Words, Unit::Characters, Unit::Bytes] {
            let texts = || found.iter().map(|line| line.text.as_str());
            let Ok(vocabulary) = Vocabulary::of(unit, texts(), 1 + usize::from(first / 16), None, false) else {
                continue;
            };
            for text in texts() {
                let tokens = vocabulary.encode(text).unwrap_or_default();
                assert!(tokens.iter().all(|token| *token > 0 && usize::from(*token) < vocabulary.len()));
                let again = vocabulary.encode(&vocabulary.decode(&tokens));
                assert!(again.as_ref() == Ok(&tokens) || unit == Unit::Characters, "{text:?}");
            }
        }
    }
);
