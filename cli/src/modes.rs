//! What a guest's programs have switched on in a terminal, so that it can be switched off when the
//! user leaves them, and on again when the user comes back.

use std::collections::BTreeSet;
use std::fmt::Write;

use vte::{Params, Parser, Perform};

/// Private modes that matter beyond a program: cursor keys, screens, mouse, focus, pasting.
const TRACKED: [u16; 14] =
    [1, 9, 47, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 1047, 1049, 2004];
/// Those that show the alternate screen.
const SCREENS: [u16; 3] = [47, 1047, 1049];
const CURSOR: u16 = 25;

/// Follows the modes of a terminal through what is printed on it.
#[derive(Default)]
pub struct Modes {
    parser: Parser,
    state: State,
}

#[derive(Debug, Default)]
struct State {
    on: BTreeSet<u16>,
    cursor_hidden: bool,
    cursor_shaped: bool,
    keypad: bool,
    margins: bool,
    /// Keys with modifiers are reported in full (modifyOtherKeys).
    other_keys: bool,
    /// How often the kitty keyboard protocol was pushed.
    keyboards: u16,
}

impl Modes {
    /// Takes note of what is printed.
    pub fn see(&mut self, printed: &[u8]) {
        self.parser.advance(&mut self.state, printed);
    }

    /// Whether a full-screen program has the terminal; some leave the screen as it is, and only
    /// hide the cursor or take the keypad.
    pub fn full_screen(&self) -> bool {
        self.alternate_screen() || self.state.cursor_hidden || self.state.keypad
    }

    fn alternate_screen(&self) -> bool {
        SCREENS.iter().any(|mode| self.state.on.contains(mode))
    }

    /// Switches on what is on.
    pub fn enter(&self) -> String {
        let State { on, cursor_hidden, keypad, other_keys, keyboards, .. } = &self.state;
        let mut text = String::new();
        // Screens first: some terminals keep modes for each.
        for mode in on.iter().rev() {
            let _ = write!(text, "\x1b[?{mode}h");
        }
        for (on, switch) in
            [(cursor_hidden, "\x1b[?25l"), (keypad, "\x1b="), (other_keys, "\x1b[>4;2m")]
        {
            text += if *on { switch } else { "" };
        }
        text += &"\x1b[>1u".repeat(usize::from(*keyboards));
        text
    }

    /// Switches off what is on.
    pub fn leave(&self) -> String {
        let State { on, cursor_hidden, cursor_shaped, keypad, margins, other_keys, keyboards } =
            &self.state;
        let mut text = "\x1b[0m".to_owned();
        if *keyboards > 0 {
            let _ = write!(text, "\x1b[<{keyboards}u");
        }
        for (on, switch) in [
            (cursor_hidden, "\x1b[?25h"),
            (cursor_shaped, "\x1b[0 q"),
            (keypad, "\x1b>"),
            (other_keys, "\x1b[>4m"),
            // Setting margins moves the cursor.
            (margins, "\x1b7\x1b[r\x1b8"),
        ] {
            text += if *on { switch } else { "" };
        }
        for mode in on {
            let _ = write!(text, "\x1b[?{mode}l");
        }
        if self.full_screen() && !self.alternate_screen() {
            // Below what the program has left on the screen.
            text += "\x1b[999;1H\r\n";
        }
        text
    }
}

impl Perform for State {
    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], _: bool, action: char) {
        let mut params = params.iter().filter_map(|param| param.first().copied());
        match (intermediates, action) {
            (b"?", 'h' | 'l') => {
                let on = action == 'h';
                for mode in params {
                    if mode == CURSOR {
                        self.cursor_hidden = !on;
                    } else if on && TRACKED.contains(&mode) {
                        self.on.insert(mode);
                    } else {
                        self.on.remove(&mode);
                    }
                }
            }
            (b">", 'm') if params.next() == Some(4) => {
                self.other_keys = params.next().is_some_and(|level| level > 0);
            }
            (b">", 'u') => self.keyboards = (self.keyboards + 1).min(8),
            (b"<", 'u') => {
                let count = params.next().unwrap_or(1).max(1);
                self.keyboards = self.keyboards.saturating_sub(count);
            }
            (b" ", 'q') => self.cursor_shaped = params.next().is_some_and(|shape| shape > 0),
            ([], 'r') => self.margins = params.next().is_some_and(|top| top > 0),
            (b"!", 'p') => {
                (self.cursor_hidden, self.keypad, self.margins) = (false, false, false);
            }
            _ => {}
        }
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _: bool, byte: u8) {
        match (intermediates, byte) {
            ([], b'=') => self.keypad = true,
            ([], b'>') => self.keypad = false,
            ([], b'c') => *self = Self::default(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(printed: &str) -> Modes {
        let mut modes = Modes::default();
        // Byte by byte: sequences come in pieces.
        printed.as_bytes().chunks(1).for_each(|byte| modes.see(byte));
        modes
    }

    #[test]
    fn what_was_switched_on_is_switched_off_and_nothing_else() {
        assert_eq!(after("plain \x1b[31mred").leave(), "\x1b[0m");
        let editor = "\x1b[?1049h\x1b[?1h\x1b=\x1b[?2004h\x1b[?25l\x1b[>4;2m\x1b[1;30r\x1b[2 q";
        let modes = after(editor);
        assert!(modes.full_screen());
        assert_eq!(
            modes.leave(),
            "\x1b[0m\x1b[?25h\x1b[0 q\x1b>\x1b[>4m\x1b7\x1b[r\x1b8\x1b[?1l\x1b[?1049l\x1b[?2004l"
        );
        assert_eq!(modes.enter(), "\x1b[?2004h\x1b[?1049h\x1b[?1h\x1b[?25l\x1b=\x1b[>4;2m");
        assert!(after("\x1b[?25l").leave().ends_with("\x1b[999;1H\r\n"));
        let left = "\x1b[r\x1b[0 q\x1b[?2004l\x1b[?1049l\x1b[?1l\x1b>\x1b[?25h\x1b[>4;m";
        let modes = after(&format!("{editor}{left}"));
        assert!(!modes.full_screen());
        assert_eq!((modes.leave().as_str(), modes.enter().as_str()), ("\x1b[0m", ""));
    }

    #[test]
    fn a_reset_of_the_terminal_is_a_reset_of_its_modes() {
        assert_eq!(after("\x1b[?1000;1006h\x1b[>1u\x1bc").leave(), "\x1b[0m");
        assert_eq!(after("\x1b[>1u\x1b[>1u\x1b[<1u").leave(), "\x1b[0m\x1b[<1u");
    }
}
