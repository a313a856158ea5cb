//! A noun tagger of rules and short lists, as the baseline that the published tables call "nouns": which words of a caption a reader of
//! grammar alone would look for. No model, no outside data; `docs/evaluation.md` tells how it compares with another tagger.
//!
//! What is left when grammar words, numbers, known modifiers, known verbs and verb endings are taken away is a noun: in descriptions of
//! pictures most words are.

use std::collections::BTreeSet;

use edge_seg_model::split_caption;

/// After these a word that could be a verb is a noun: "a ride", "his drink".
const DETERMINERS: &str = "a an the this that these those his her its their my your our some any each every one two three four five another \
    several many few both all no";

const MODIFIERS: &str = "able adult alone ancient antique apart asleep available away back bad bare big bigger black blond blonde blue bright \
    brightly broken brown busy calm cardboard clean clear close cloudy cold colorful colourful concrete cool couple crowded cute dark decorative deep \
    delicious different dirty double down dry eight electric elderly empty enough entire extra fake fancy fast female few filled first five flat fluffy four fresh \
    front full fun funny furry giant golden good gray great green grey grown half hairy happy hard healthy heavy high homemade hot huge indoor indoors \
    inner large last late lean left less little live lone lonely long lot lots low lush main male mid middle mixed modern multi multicolored \
    multiple muddy narrow natural near nearby neat new next nice nine old older open orange outdoor outdoors outer overhead partial past pink plain plastic pretty public \
    purple quiet rainy raw ready real red rural rustic sandy sad same second senior seven sexy shallow sharp shiny short side silver similar single \
    six skinny sleepy small smaller smart smooth snowy snow-covered soft solid spotted square stainless steep stone straight striped strong stuffed \
    stylish sunny tabby tall tan ten thick thin third three tidy tiny top toy traditional tropical twin ugly unique unusual upside-down upside urban used \
    various vast vertical very vintage warm wet white whole wide wild wintry wooden yellow young younger \
    ate came caught done drawn driven eaten fed gone held hung kept laid lain led lit made met parked ran sat seen shown spread stood taken thrown \
    told took torn went wore worn written got \
    here there out up off ahead along around across inside outside together forward backward backwards upward downward sideways somewhere everywhere \
    almost also just only still even well not never always often now then ever maybe perhaps really rather quite too so else";

const VERBS: &str = "are is was were be been being am has have had having do does did can could may might will would shall should must let lets \
    appear appears approach approaches attempt attempts bite bites blow blows board boards bring brings brush brushes buy buys carry carries catch catches celebrate celebrates chase chases check checks \
    chew chews clean cleans climb climbs close closes come comes contain contains cook cooks cover covers cross crosses cut cuts dance dances dig digs \
    display displays dive dives do drag drags draw draws drink drinks drive drives eat eats enjoy enjoys enter enters examine examines face faces fall falls \
    feed feeds feature features fight fights fill fills find finds float floats fly flies follow follows gather gathers gaze gazes get gets give gives go goes \
    grab grabs graze grazes grind grinds grow grows hang hangs hit hits hold holds hug hugs include includes jump jumps keep keeps kick kicks kiss kisses kneel kneels \
    lay lays lead leads lean leans leap leaps learn learns leave leaves lick licks lie lies lift lifts line lines listen listens look looks make makes march marches \
    meet meets move moves nap naps offer offers open opens overlook overlooks pass passes pay pays perch perches perform performs pet pets pick picks play plays point points pose poses pour pours \
    practice practices prepare prepares pull pulls push pushes put puts reach reaches read reads relax relaxes rest rests ride rides roll rolls run runs sail sails say says see sees seem seems \
    sell sells serve serves share shares shine shines shoot shoots show shows sing sings sip sips sit sits skate skates ski skis slide slides sleep sleeps smell smells smile smiles sniff sniffs speak speaks spin spins \
    splash splashes stand stands stare stares start starts stay stays step steps stick sticks stop stops stretch stretches surf surfs surround surrounds sweep sweeps swim swims swing swings take takes talk talks \
    tell tells throw throws tie ties touch touches travel travels try tries turn turns use uses wade wades wait waits walk walks want wants wash washes watch watches wave waves wear wears work works write writes";

/// Words in -ing, -ed and -ly that are things.
const THINGS: &str = "building buildings ceiling ceilings clothing wedding weddings painting paintings railing railings string strings ring rings king kings wing wings evening morning crossing crossings \
    swing swings spring icing frosting dressing bedding pudding lightning thing things everything something anything nothing siding lining covering opening parking landing living being awning awnings earring earrings \
    sibling siblings duckling ducklings stuffing topping toppings seasoning drawing drawings \
    bed beds shed sheds sled sleds seed seeds weed weeds reed reeds \
    family families belly butterfly fly jelly lily assembly bully dolly trolley";

/// The nouns of a caption, lower case, each once, in order.
pub fn nouns(caption: &str) -> Vec<String> {
    // Determiners come before what they determine, and stop words between words of content are what grammar goes by.
    let tokens: Vec<String> = words(caption);
    let content: BTreeSet<String> = split_caption(caption, false).map(|c| c.into_iter().map(|c| c.name).collect()).unwrap_or_default();
    let mut found: Vec<String> = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        let before = i.checked_sub(1).map_or("", |i| tokens[i].as_str());
        if content.contains(token) && is_noun(token, before) && !found.contains(token) {
            found.push(token.clone());
        }
    }
    found
}

fn is_noun(word: &str, before: &str) -> bool {
    let among = |list: &str| list.split_ascii_whitespace().any(|w| w == word);
    let determined = DETERMINERS.split_ascii_whitespace().chain(MODIFIERS.split_ascii_whitespace()).any(|w| w == before);
    if among(THINGS) {
        return true;
    }
    if among(MODIFIERS) || among(DETERMINERS) || word.chars().next().is_some_and(|c| c.is_ascii_digit()) {
        return false;
    }
    if among(VERBS) {
        return determined;
    }
    let ending = |end: &str| word.len() > end.len() + 2 && word.ends_with(end);
    !(ending("ing") || ending("ed") || ending("ly") || ending("'s") && word.len() < 5)
}

/// Every word in order, repeats and stop words included, split as `split_caption` splits.
fn words(caption: &str) -> Vec<String> {
    caption
        .to_lowercase()
        .split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '\''))
        .map(|w| w.trim_matches(['-', '\'']).to_string())
        .filter(|w| !w.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_found_and_what_they_do_is_not() {
        for (caption, expected) in [
            ("A brown dog runs on the wet grass.", vec!["dog", "grass"]),
            ("A man riding a wave on top of a surfboard", vec!["man", "wave", "surfboard"]),
            ("Two women are sitting in a large building with white ceilings", vec!["women", "building", "ceilings"]),
            ("the girl waves, taking a ride on a parked bus", vec!["girl", "ride", "bus"]),
            ("of the and", vec![]),
        ] {
            assert_eq!(nouns(caption), expected, "{caption}");
        }
    }
}
