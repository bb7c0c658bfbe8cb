//! `phrases`: English sentences of ten classes, drawn from a grammar whose probabilities are known exactly.

use std::sync::LazyLock;

use waxwork_core::Kind;
use waxwork_core::rng::Draws;

use super::grammar::{Grammar, Written};
use super::{Artist, CLASSES};
use crate::Factor;
use crate::text::at_rest;

/// Maximum number of tokens of a sentence, including its end. The longest sentence is shorter.
pub const PHRASE_LENGTH: usize = 16;
/// The greatest number that is a word.
const GREATEST: usize = 12;
/// The greatest number that a sum begins with or adds.
const GREATEST_TERM: usize = 9;
const NUMBERS: [&str; GREATEST] =
    ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
/// The start rules of the classes, in their order.
const STARTS: [&str; CLASSES] = [
    "Weather",
    "Counting",
    "Question",
    "Negation",
    "Comparison",
    "Colour",
    "Place",
    "Time",
    "Command",
    "Sum",
];

/// Every rule except those of sums. Bars separate the ways, each of which starts with its weight.
const RULES: &[(&str, &str)] = &[
    // The sun shines.
    ("Weather", "1 it Forecast"),
    ("Forecast", "4 is Sky Today | 3 was Sky Yesterday | 3 will be Sky Tomorrow"),
    ("Sky", "5 Degree Warmth AndSky | 3 Clearness"),
    ("Degree", "3 | 1 very"),
    ("Warmth", "3 cold | 3 warm | 1 hot"),
    ("AndSky", "3 | 2 and Clearness"),
    ("Clearness", "3 sunny | 2 windy | 1 wet | 1 dry"),
    ("Today", "2 | 2 today | 1 this Daytime"),
    ("Yesterday", "1 | 3 yesterday | 1 last night"),
    ("Tomorrow", "3 tomorrow | 1 tonight"),
    ("Daytime", "2 morning | 1 afternoon | 2 evening"),
    // How many there are.
    ("Counting", "1 there Many"),
    ("Many", "1 is one Animal Somewhere | 5 are Several Animals AndThings Somewhere"),
    ("Several", "5 two | 4 three | 3 four | 2 five | 1 six | 1 seven | 1 eight | 1 nine"),
    ("Animals", "3 cats | 3 dogs | 2 birds | 1 horses"),
    ("AndThings", "3 | 2 and Several Things"),
    ("Things", "2 balls | 1 books | 1 boxes | 1 hats"),
    ("Somewhere", "1 | 3 in the Room | 2 on the Furniture"),
    // Nouns, and the words before them.
    ("Animal", "3 cat | 3 dog | 2 bird | 1 horse"),
    ("Person", "2 boy | 2 girl | 1 man | 1 woman"),
    ("Thing", "3 ball | 2 book | 2 box | 1 hat"),
    ("Room", "3 garden | 2 kitchen | 2 house | 1 school"),
    ("Furniture", "3 table | 2 chair | 1 bed"),
    ("Size", "3 big | 3 small | 2 old"),
    ("Hue", "3 red | 2 blue | 2 green | 1 yellow"),
    ("Living", "4 Animal | 4 Person | 3 Size SomeLiving"),
    ("SomeLiving", "1 Animal | 1 Person"),
    ("Noun", "4 Animal | 3 Person | 2 Thing | 3 Size Some | 2 Hue Thing"),
    ("Some", "1 Animal | 1 Person | 1 Thing"),
    ("Object", "3 Thing | 2 Size Thing | 2 Hue Thing"),
    ("Aside", "5 | 1 in the Room"),
    // Questions.
    (
        "Question",
        "3 where Where ? | 3 who Who ? | 2 is the Noun Whether ? | 2 does the Living Does ? | 1 how many HowMany ?",
    ),
    ("Where", "3 is the Noun | 1 are the Animals"),
    ("Who", "2 has the Object | 1 is in the Room | 2 likes the Noun"),
    ("Whether", "2 in the Room | 1 on the Furniture | 2 Greater than the Noun"),
    ("Does", "2 like the Noun | 1 see the Noun | 1 want the Object"),
    ("HowMany", "2 Animals are in the Room | 1 Things are on the Furniture"),
    // Negations.
    ("Negation", "6 the Living Aside Not | 1 nobody likes the Noun | 1 there is no Animal in the Room"),
    ("Not", "3 is not State | 4 does not Does"),
    ("State", "2 in the Room | 1 on the Furniture | 2 hungry | 2 tired | 1 happy"),
    // Comparisons.
    ("Comparison", "1 the Noun Aside is Compared"),
    ("Compared", "4 Greater than the Noun | 1 much Greater than the Noun | 2 as Size as the Noun"),
    ("Greater", "2 bigger | 2 smaller | 1 older"),
    // Colours.
    ("Colour", "3 my Thing is Shade | 2 your Thing is Shade | 4 the Coloured"),
    ("Coloured", "3 Thing is Shade | 2 Size Thing is Shade | 2 Person has a AnyHue Thing"),
    ("Shade", "4 Hue AndGrey | 2 Grey"),
    ("AndGrey", "2 | 1 and Grey"),
    ("Grey", "2 black | 3 white"),
    ("AnyHue", "3 Hue | 1 Grey"),
    // Places.
    ("Place", "1 the Placed"),
    ("Placed", "3 Animal Rests Spot | 3 Person Rests Spot | 2 Size SomeLiving Rests Spot | 3 Thing is Spot"),
    ("Rests", "2 is | 2 sleeps | 2 sits | 1 waits"),
    ("Spot", "3 in the Room | 2 on the Furniture InRoom | 2 under the Furniture InRoom | 1 near the Noun"),
    ("InRoom", "2 | 1 in the Room"),
    // The time of day.
    ("Time", "4 it is Clock PartOfDay | 2 the Event"),
    ("Event", "1 lesson begins at Clock PartOfDay | 1 train leaves at Clock PartOfDay"),
    ("Clock", "4 Hour o'clock | 1 nearly Hour o'clock | 2 half past Hour"),
    (
        "Hour",
        "1 one | 1 two | 1 three | 1 four | 1 five | 1 six | 1 seven | 1 eight | 1 nine | 1 ten | 1 eleven | 1 twelve",
    ),
    ("PartOfDay", "4 | 3 in the Daytime | 1 at night"),
    // Commands.
    ("Command", "2 please Action | 4 Action"),
    (
        "Action",
        "2 open the Lid | 2 close the Lid | 2 give the Object to the Living | 2 bring the Object to the Person | 2 put the Object Put | 1 wait in the Room",
    ),
    ("Lid", "2 door | 2 window | 1 box | 1 book"),
    ("Put", "2 on the Furniture InRoom | 1 under the Furniture | 1 near the Noun"),
];

/// Draws sentences.
#[derive(Clone, Copy, Debug)]
pub struct PhraseArtist;

impl Grammar {
    /// The grammar of `phrases`.
    pub fn phrases() -> &'static Self {
        static PHRASES: LazyLock<Grammar> = LazyLock::new(|| Grammar::new(&rules(), &STARTS));
        &PHRASES
    }
}

fn rules() -> Written {
    let way = |way: &str| {
        let (weight, symbols) = way.trim().split_once(' ').unwrap_or((way.trim(), ""));
        (weight.parse().unwrap_or(0), symbols.to_owned())
    };
    let rule = |(name, ways): &(&str, &str)| ((*name).to_owned(), ways.split('|').map(way).collect());
    RULES.iter().map(rule).chain(sums()).collect()
}

/// Rules for correct sums and differences of two or three numbers: one rule per intermediate result.
fn sums() -> Written {
    let word = |number: usize| NUMBERS[number - 1];
    let begin = |first| (1, format!("{} First{first}", word(first)));
    let mut rules = vec![("Sum".to_owned(), (1..=GREATEST_TERM).map(begin).collect())];
    for (stage, next) in [("First", "Second"), ("Second", "Last")] {
        for reached in 1..=GREATEST {
            // After the first number comes another; after the second, the result may follow.
            let mut ways = Vec::new();
            if stage == "Second" {
                ways.push((2, format!("is {}", word(reached))));
            }
            for (sign, weight, terms) in [
                (
                    "plus",
                    2,
                    (1..=GREATEST_TERM).filter(|term| reached + term <= GREATEST).collect::<Vec<_>>(),
                ),
                ("minus", 1, (1..=GREATEST_TERM).filter(|term| *term < reached).collect()),
            ] {
                if terms.is_empty() {
                    continue;
                }
                ways.push((weight, format!("{sign} {stage}{sign}{reached}")));
                let after = |term: usize| if sign == "plus" { reached + term } else { reached - term };
                let term = |term: usize| (1, format!("{} {next}{}", word(term), after(term)));
                rules.push((format!("{stage}{sign}{reached}"), terms.into_iter().map(term).collect()));
            }
            rules.push((format!("{stage}{reached}"), ways));
        }
    }
    rules.extend(
        (1..=GREATEST).map(|result| (format!("Last{result}"), vec![(1, format!("is {}", word(result)))])),
    );
    rules
}

impl Artist for PhraseArtist {
    const NAME: &'static str = "phrases";
    const VERSION: u32 = 1;
    type Factors = Vec<u16>;

    fn kind() -> Kind {
        Kind::Text { vocabulary: Grammar::phrases().vocabulary().len(), length: PHRASE_LENGTH }
    }

    fn factors(index: usize, draws: &mut Draws) -> Vec<u16> {
        Grammar::phrases().draw(index % CLASSES, draws)
    }

    /// A sentence has no factors besides itself.
    fn named(_: &Vec<u16>) -> Vec<Factor> {
        Vec::new()
    }

    fn paint(sentence: &Vec<u16>, _: &mut Draws, out: &mut [u8]) {
        for (byte, value) in out.iter_mut().zip(at_rest(sentence, PHRASE_LENGTH)) {
            *byte = value;
        }
    }
}
