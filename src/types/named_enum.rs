//! Enums whose variants have names: on the wire, in the log or in metrics.

/// Declares an enum as a table of its variants and their names, which `as_str` gives.
macro_rules! named_enum {
    (
        $(#[$enum_attribute:meta])*
        $vis:vis enum $enum:ident {
            $($(#[$attribute:meta])* $variant:ident = $name:literal,)*
        }
    ) => {
        $(#[$enum_attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $enum {
            $($(#[$attribute])* $variant,)*
        }

        impl $enum {
            /// Its name.
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

pub(crate) use named_enum;
