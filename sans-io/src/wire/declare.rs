//! The declaration of wire types.

/// Declares types with their wire format. See the [module](crate::wire).
///
/// ```text
/// struct Name { field: Type, field: Type { 3..=5 => Codec, 6.. => Plain }, … }
/// ```
/// A field without versions has the encoding of its type in all versions; with versions it is encoded by the codec of the first
/// pattern that matches, and where none matches it is absent and parsed as its default.
///
/// ```text
/// words enum Name { "TAG" => Variant, "TAG" => Variant(name: Type), "TAG" => Variant { field: Type, … } bare ..=5, … }
/// ```
/// A word tag, then a space and the parameters, if the variant has any; in versions that match `bare` the parameters are absent and
/// parsed as their defaults. An unknown word is [`UnknownTag`](crate::wire::WireError::UnknownTag).
///
/// ```text
/// prefixes enum Name { "M" => Variant, … }
/// ```
/// A tag that the parameters follow at once. Of tags that are prefixes of each other the longer one stands first.
#[macro_export]
macro_rules! wire {
    (
        $(#[$meta:meta])*
        $vis:vis struct $Name:ident {
            $(
                $(#[$field_meta:meta])*
                $field_vis:vis $field:ident : $ty:ty $( { $($versions:pat => $codec:ident),+ $(,)? } )?
            ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        $vis struct $Name {
            $( $(#[$field_meta])* $field_vis $field: $ty, )*
        }

        impl $crate::wire::Wire for $Name {
            fn parse<'a>(source: $crate::wire::Source<'_>, input: &'a [u8]) -> $crate::wire::Parsed<'a, Self> {
                $( $crate::wire!(@parse source, input, $field: $ty $( { $($versions => $codec),+ } )?); )*
                Ok((input, Self { $($field),* }))
            }

            fn put(&self, version: $crate::wire::Version, out: &mut ::bytes::BytesMut) {
                let Self { $($field),* } = self;
                $( $crate::wire!(@put version, out, $field: $ty $( { $($versions => $codec),+ } )?); )*
            }
        }

        #[cfg(any(test, feature = "sim"))]
        impl $crate::wire::Sample for $Name {
            fn sample(version: $crate::wire::Version, rng: &mut $crate::rng::Rng) -> Self {
                $( $crate::wire!(@sample version, rng, $field: $ty $( { $($versions => $codec),+ } )?); )*
                Self { $($field),* }
            }
        }
    };

    (
        words $(#[$meta:meta])*
        $vis:vis enum $Name:ident { $($variants:tt)* }
    ) => {
        $crate::wire!(@enum word, parameters_of_word, [$(#[$meta])* $vis] $Name { $($variants)* });
    };

    (
        prefixes $(#[$meta:meta])*
        $vis:vis enum $Name:ident { $($variants:tt)* }
    ) => {
        $crate::wire!(@enum prefix, parameters_of_prefix, [$(#[$meta])* $vis] $Name { $($variants)* });
    };

    (@enum $style:ident, $parameters:ident, [$(#[$meta:meta])* $vis:vis] $Name:ident {
        $(
            $(#[$variant_meta:meta])*
            $tag:literal => $Variant:ident
            $( ( $value:ident : $value_ty:ty $( { $($value_versions:pat => $value_codec:ident),+ $(,)? } )? ) )?
            $( {
                $(
                    $(#[$field_meta:meta])*
                    $field:ident : $ty:ty $( { $($versions:pat => $codec:ident),+ $(,)? } )?
                ),* $(,)?
            } )?
            $( bare $bare:pat )?
        ),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        $vis enum $Name {
            $( $(#[$variant_meta])* $Variant $( ( $value_ty ) )? $( { $( $(#[$field_meta])* $field: $ty ),* } )?, )*
        }

        impl $Name {
            /// The tag that the encoding begins with.
            #[must_use]
            pub const fn tag(&self) -> &'static str {
                match self { $( Self::$Variant { .. } => $tag, )* }
            }
        }

        impl $crate::wire::Wire for $Name {
            #[allow(unused_variables, unreachable_patterns, reason = "a declaration may have no parameters")]
            fn parse<'a>(source: $crate::wire::Source<'_>, input: &'a [u8]) -> $crate::wire::Parsed<'a, Self> {
                $(
                    if let Some(input) = $crate::wire::tag::$style($tag, input) {
                        let bare = $crate::wire!(@bare source.version() $(, $bare)?);
                        let parse = |input: &'a [u8]| -> $crate::wire::Parsed<'a, Self> {
                            $(
                                let (input, $value) = if bare { (input, Default::default()) } else {
                                    let input = $crate::wire::tag::$parameters(input)?;
                                    $crate::wire!(@parse source, input, $value: $value_ty $( { $($value_versions => $value_codec),+ } )?);
                                    (input, $value)
                                };
                            )?
                            $(
                                let input = $crate::wire::tag::$parameters(input)?;
                                $( $crate::wire!(@parse source, input, $field: $ty $( { $($versions => $codec),+ } )?); )*
                            )?
                            Ok((input, Self::$Variant { $( 0: $value )? $( $($field),* )? }))
                        };
                        return parse(input).map_err($crate::wire::WireError::within);
                    }
                )*
                $crate::wire::WireError::UnknownTag.fail()
            }

            #[allow(unused_variables, unreachable_patterns, reason = "a declaration may have no parameters")]
            fn put(&self, version: $crate::wire::Version, out: &mut ::bytes::BytesMut) {
                out.extend_from_slice(self.tag().as_bytes());
                match self {
                    $(
                        Self::$Variant { $( 0: $value )? $( $($field),* )? } => {
                            if $crate::wire!(@bare version $(, $bare)?) {
                                return;
                            }
                            $(
                                $crate::wire::tag::separate::$style(out);
                                $crate::wire!(@put version, out, $value: $value_ty $( { $($value_versions => $value_codec),+ } )?);
                            )?
                            $(
                                $crate::wire::tag::separate::$style(out);
                                $( $crate::wire!(@put version, out, $field: $ty $( { $($versions => $codec),+ } )?); )*
                            )?
                        }
                    )*
                }
            }
        }

        #[cfg(any(test, feature = "sim"))]
        impl $crate::wire::Sample for $Name {
            #[allow(unused_variables, unreachable_patterns, reason = "a declaration may have no parameters")]
            fn sample(version: $crate::wire::Version, rng: &mut $crate::rng::Rng) -> Self {
                let makers: &[fn($crate::wire::Version, &mut $crate::rng::Rng) -> Self] = &[
                    $(
                        |version, rng| {
                            let bare = $crate::wire!(@bare version $(, $bare)?);
                            $(
                                let $value = if bare { Default::default() } else {
                                    $crate::wire!(@sample version, rng, $value: $value_ty $( { $($value_versions => $value_codec),+ } )?);
                                    $value
                                };
                            )?
                            $( $( $crate::wire!(@sample version, rng, $field: $ty $( { $($versions => $codec),+ } )?); )* )?
                            Self::$Variant { $( 0: $value )? $( $($field),* )? }
                        },
                    )*
                ];
                $crate::wire::tag::choose(makers, rng)(version, rng)
            }
        }
    };

    (@bare $version:expr) => { false };
    (@bare $version:expr, $bare:pat) => { matches!($version.0, $bare) };

    (@parse $source:ident, $input:ident, $field:ident : $ty:ty) => {
        let ($input, $field) = <$ty as $crate::wire::Wire>::parse($source, $input)?;
    };
    (@parse $source:ident, $input:ident, $field:ident : $ty:ty { $($versions:pat => $codec:ident),+ }) => {
        #[allow(unreachable_patterns, reason = "the versions may be exhaustive")]
        let ($input, $field): (&[u8], $ty) = match $source.version().0 {
            $( $versions => $crate::wire!(@codec $codec, $ty, parse($source, $input))?, )+
            _ => ($input, Default::default()),
        };
    };

    (@put $version:ident, $out:ident, $field:ident : $ty:ty) => {
        <$ty as $crate::wire::Wire>::put($field, $version, $out);
    };
    (@put $version:ident, $out:ident, $field:ident : $ty:ty { $($versions:pat => $codec:ident),+ }) => {
        #[allow(unreachable_patterns, reason = "the versions may be exhaustive")]
        match $version.0 {
            $( $versions => $crate::wire!(@codec $codec, $ty, put($field, $version, $out)), )+
            _ => {}
        }
    };

    (@sample $version:ident, $rng:ident, $field:ident : $ty:ty) => {
        let $field = <$ty as $crate::wire::Sample>::sample($version, $rng);
    };
    (@sample $version:ident, $rng:ident, $field:ident : $ty:ty { $($versions:pat => $codec:ident),+ }) => {
        #[allow(unreachable_patterns, reason = "the versions may be exhaustive")]
        let $field: $ty = match $version.0 {
            $( $versions => $crate::wire!(@codec_sample $codec, $ty, $version, $rng), )+
            _ => Default::default(),
        };
    };

    (@codec Plain, $ty:ty, $($call:tt)*) => { <$crate::wire::Plain as $crate::wire::Codec<$ty>>::$($call)* };
    (@codec $codec:ident, $ty:ty, $($call:tt)*) => { <$codec as $crate::wire::Codec<$ty>>::$($call)* };
    (@codec_sample Plain, $ty:ty, $version:ident, $rng:ident) => {
        <$crate::wire::Plain as $crate::wire::SampleCodec<$ty>>::sample($version, $rng)
    };
    (@codec_sample $codec:ident, $ty:ty, $version:ident, $rng:ident) => {
        <$codec as $crate::wire::SampleCodec<$ty>>::sample($version, $rng)
    };
}
