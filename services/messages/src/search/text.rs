//! Texts as they are compared in a search: without case, width, accents and punctuation.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
use uuid::Uuid;

/// The length of the parts that words are indexed by, in characters. A shorter word is found whole.
pub const GRAM: usize = 3;
/// Entries of a channel that share a slice. A search goes through its slices from the newest on, so
/// that what stands in every message of a long conversation costs no more than its newest ones.
pub const SLICE: u64 = 4096;

/// The words of a text, with one space before, between and after them. Of scripts that put no
/// spaces between words, and of symbols, each character is a word.
pub fn folded(text: &str) -> String {
    let mut words = String::with_capacity(text.len() + 2);
    words.push(' ');
    if text.is_ascii() {
        // Most texts are ASCII; for them this gives the same in a tenth of the time.
        text.chars()
            .for_each(|c| add(&mut words, c.to_ascii_lowercase()));
    } else {
        // Letters and their marks apart, in any width; then both cases of a letter as one; then
        // the letters that are written in parts put together again.
        let plain = text.nfkd().filter(|c| !is_passed_over(*c));
        // Lower, upper, lower: lowercasing once does not make all variants equal (σ and ς, ß and
        // ss).
        let lower = plain.flat_map(char::to_lowercase);
        let upper = lower.flat_map(char::to_uppercase);
        let lower = upper.flat_map(char::to_lowercase).map(without_stroke);
        lower.nfc().for_each(|c| add(&mut words, c));
    }
    end_word(&mut words);
    words
}

fn add(words: &mut String, c: char) {
    if stands_alone(c) {
        end_word(words);
        words.push(c);
        words.push(' ');
    } else if c.is_alphanumeric() || is_combining_mark(c) {
        words.push(c);
    } else {
        end_word(words);
    }
}

fn end_word(words: &mut String) {
    if !words.ends_with(' ') {
        words.push(' ');
    }
}

/// Accents, points, and what joins or varies characters without a look of its own. The marks of
/// other scripts are vowels, and stay.
fn is_passed_over(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}'
        // Latin, Greek, Cyrillic.
        | '\u{300}'..='\u{36f}' | '\u{483}'..='\u{487}' | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}'
        // Hebrew, Arabic.
        | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}'..='\u{5c2}' | '\u{5c4}'..='\u{5c5}' | '\u{5c7}'
        | '\u{610}'..='\u{61a}' | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}'
        // Skin tones.
        | '\u{1f3fb}'..='\u{1f3ff}')
}

/// Letters with a stroke, which Unicode does not take apart, as the same letters without it.
fn without_stroke(c: char) -> char {
    match c {
        'ł' => 'l',
        'ø' => 'o',
        'đ' => 'd',
        'ħ' => 'h',
        'ŧ' => 't',
        c => c,
    }
}

/// Characters that are words: of scripts that put no spaces between words, and symbols.
fn stands_alone(c: char) -> bool {
    // Not every character in the ranges below is a letter.
    let is_letter = || c.is_alphanumeric() || is_combining_mark(c);
    match c {
        '©' | '®' | '\u{2190}'..='\u{2bff}' | '〰' | '〽' | '\u{1f000}'..='\u{1faff}' => true,
        // Thai, Lao, Tibetan, Burmese, Hangul, Khmer.
        '\u{e00}'..='\u{109f}' | '\u{1100}'..='\u{11ff}' | '\u{1780}'..='\u{17ff}'
        // Han with its radicals and strokes, kana, bopomofo, Hangul.
        | '\u{2e80}'..='\u{31ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7ff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}' => is_letter(),
        _ => false,
    }
}

/// The hashes under which a folded text is indexed: of each part of [`GRAM`] letters of each word, or
/// of the word if it is shorter; of scripts without spaces, of each character alone and together
/// with the character before it. Two texts may share a hash, so a search compares the text itself.
pub fn grams(folded: &str) -> Vec<i32> {
    let mut grams = Vec::new();
    let mut before = None;
    let mut letters = Vec::new();
    for word in folded.split(' ').filter(|word| !word.is_empty()) {
        letters.clear();
        letters.extend(word.chars());
        let alone = (letters.len() == 1 && stands_alone(letters[0])).then_some(letters[0]);
        grams.extend(letters.windows(GRAM.min(letters.len())).map(hash));
        if let (Some(before), Some(alone)) = (before, alone) {
            grams.push(hash(&[before, alone]));
        }
        before = alone;
    }
    grams.sort_unstable();
    grams.dedup();
    grams
}

/// A channel's slice of this number, hashed: it is beside its entries' grams in the same index.
pub fn slice(channel: Uuid, number: u64) -> i32 {
    let bytes = channel.into_bytes().into_iter().chain(number.to_le_bytes());
    fnv(bytes)
}

fn hash(letters: &[char]) -> i32 {
    fnv(letters
        .iter()
        .flat_map(|letter| u32::from(*letter).to_le_bytes()))
}

/// FNV-1a: it is stored, so it stays the same in each version.
fn fnv(bytes: impl Iterator<Item = u8>) -> i32 {
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_width_accents_and_punctuation_do_not_count() {
        for (text, words) in [
            ("", " "),
            ("…!?", " "),
            ("CAFÉ cafe\u{301} ｃａｆｅ", " cafe cafe cafe "),
            ("ΟΔΟΣ οδος", " οδοσ οδοσ "),
            ("Straße STRASSE STRAẞE", " strasse strasse strasse "),
            ("İnci Łódź Smørrebrød Đà", " inci lodz smorrebrod da "),
            ("Natter® ©", " natter ® © "),
            (
                "https://example.com/foo.png?x=1",
                " https example com foo png x 1 ",
            ),
            ("我们去北京, rust语言", " 我 们 去 北 京 rust 语 言 "),
            ("がか", " が か "),
            ("한국어", " 한 국 어 "),
            ("सीमा", " सीमा "),
            ("yes👍🏽no ❤️", " yes 👍 no ❤ "),
        ] {
            assert_eq!(folded(text), words, "{text}");
        }
    }

    #[test]
    fn a_part_of_a_word_has_grams_of_the_word() {
        let of = |text: &str| grams(&folded(text));
        for (part, text) in [
            ("eedl", "a needle"),
            ("go", "go!"),
            ("北京", "我们去北京"),
            ("京", "我们去北京"),
            ("ไทย", "ภาษาไทย"),
        ] {
            let all = of(text);
            assert!(of(part).iter().all(|gram| all.contains(gram)), "{part}");
        }
        let all = of("我们去北京");
        assert!(!of("京北").iter().all(|gram| all.contains(gram)));
    }
}
