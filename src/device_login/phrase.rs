//! The phrase that the device and the approving person both see: three short words.

use crate::base::secret::random_array;

/// 256 short words that are easy to say and hard to mistake for one another.
const WORDS: [&str; 256] = [
    "acorn", "alarm", "album", "anchor", "angle", "apple", "april", "apron", "arrow", "autumn",
    "baker", "bamboo", "banana", "barn", "basket", "beach", "beaver", "bell", "bench", "berry",
    "bicycle", "bird", "biscuit", "blanket", "board", "boat", "bonfire", "book", "border",
    "bottle", "bowl", "branch", "bread", "breeze", "brick", "bridge", "broom", "brush", "bucket",
    "butter", "button", "cabin", "cable", "cactus", "camel", "camera", "candle", "canoe", "carpet",
    "carrot", "castle", "cellar", "chain", "chair", "chalk", "cheese", "cherry", "chimney",
    "circle", "city", "clay", "cliff", "clock", "cloud", "clover", "coast", "coat", "coffee",
    "collar", "comet", "copper", "coral", "corner", "cotton", "cousin", "crane", "crayon",
    "cricket", "crown", "cup", "curtain", "daisy", "desert", "desk", "dinner", "dolphin", "donkey",
    "door", "dragon", "drum", "duck", "eagle", "earth", "easel", "echo", "egg", "elbow", "engine",
    "evening", "fabric", "falcon", "farmer", "feather", "fence", "fiddle", "field", "finger",
    "fire", "fish", "flag", "flame", "flower", "flute", "forest", "fork", "fountain", "fox",
    "frog", "garden", "garlic", "gate", "giant", "ginger", "glass", "globe", "glove", "goat",
    "gold", "goose", "grape", "grass", "guitar", "hammer", "harbor", "harp", "hat", "hedge",
    "helmet", "hill", "honey", "horse", "house", "ice", "ink", "island", "ivory", "jacket", "jar",
    "jelly", "jewel", "jungle", "kettle", "key", "king", "kitchen", "kite", "kitten", "ladder",
    "lake", "lamp", "lantern", "leaf", "lemon", "letter", "lily", "lion", "lizard", "lobster",
    "magnet", "mango", "maple", "marble", "market", "meadow", "melon", "mirror", "monkey", "moon",
    "morning", "moss", "mountain", "mouse", "museum", "music", "napkin", "needle", "nest", "night",
    "north", "nurse", "oak", "ocean", "olive", "onion", "orange", "orbit", "otter", "oven", "owl",
    "oyster", "paddle", "palace", "panda", "paper", "parrot", "peach", "pencil", "penguin",
    "pepper", "piano", "picnic", "pillow", "pilot", "pine", "planet", "plum", "pocket", "pond",
    "pony", "poppy", "potato", "prince", "pumpkin", "puzzle", "quilt", "rabbit", "radio", "rain",
    "raven", "ribbon", "river", "robin", "rocket", "roof", "rope", "rose", "saddle", "sailor",
    "salt", "sand", "school", "shadow", "sheep", "shell", "silver", "snow", "spoon", "spring",
    "squirrel", "stone", "summer", "table", "tiger", "tree", "violin", "window",
];

/// Draws a phrase.
pub(super) fn draw() -> String {
    let words = random_array::<3>().map(|byte| WORDS[usize::from(byte)]);
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_short_plain_and_all_different() {
        for pair in WORDS.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
        }
        for word in WORDS {
            let plain = word.bytes().all(|byte| byte.is_ascii_lowercase());
            assert!(plain && (3..=8).contains(&word.len()), "{word}");
        }
        let phrase = draw();
        assert_eq!(phrase.split(' ').filter(|word| WORDS.contains(word)).count(), 3, "{phrase}");
        assert_ne!(phrase, draw(), "one in sixteen million");
    }
}
