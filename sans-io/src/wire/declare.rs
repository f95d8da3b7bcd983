//! The declaration of wire types.

/// Declares types with their wire format. See the [module](mod@crate::wire).
///
/// ```text
/// struct Name { field: Type, field: Type as Codec, field: Type { 3..=5 => Codec, 6.. => Plain }, … }
/// ```
/// A field has the encoding of its type, or of a codec, in all versions; or in each version that of the first pattern that matches, and
/// where none matches it is absent and parsed as its default.
///
/// ```text
/// impl Name { field: Type, … }
/// ```
/// The same for a struct that is declared elsewhere.
///
/// ```text
/// words enum Name { "TAG" => Variant, "TAG" => Variant(name: Type), "TAG" => Variant(name: Type, bare 0..=5), "TAG" => Variant { field: Type, … }, … }
/// ```
/// A word tag, then a space and the parameters, if the variant has any; in versions that match `bare` the parameters are absent and
/// parsed as their defaults. Parameters in brackets, `"TAG" => Variant [name: Type]`, are read if they are there and never written. An unknown word is [`UnknownTag`](crate::wire::WireError::UnknownTag).
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
                $field_vis:vis $field:ident : $ty:ty $( as $always:ident )? $( { $($versions:pat => $codec:ident),+ $(,)? } )?
            ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        $vis struct $Name {
            $( $(#[$field_meta])* $field_vis $field: $ty, )*
        }

        $crate::wire! {
            impl $Name {
                $( $field: $ty $( as $always )? $( { $($versions => $codec),+ } )?, )*
            }
        }
    };

    (
        impl $Name:ident {
            $( $field:ident : $ty:ty $( as $always:ident )? $( { $($versions:pat => $codec:ident),+ $(,)? } )? ),* $(,)?
        }
    ) => {
        impl $crate::wire::Wire for $Name {
            fn parse<'a>(source: $crate::wire::Source<'_>, input: &'a [u8]) -> $crate::wire::Parsed<'a, Self> {
                $( $crate::wire!(@parse source, input, $field: $ty $( as $always )? $( { $($versions => $codec),+ } )?); )*
                Ok((input, Self { $($field),* }))
            }

            fn put(&self, version: $crate::wire::Version, out: &mut ::bytes::BytesMut) {
                let Self { $($field),* } = self;
                $( $crate::wire!(@put version, out, $field: $ty $( as $always )? $( { $($versions => $codec),+ } )?); )*
            }
        }

        #[cfg(any(test, feature = "sim"))]
        impl $crate::wire::Sample for $Name {
            fn sample(version: $crate::wire::Version, rng: &mut $crate::rng::Rng) -> Self {
                $( $crate::wire!(@sample version, rng, $field: $ty $( as $always )? $( { $($versions => $codec),+ } )?); )*
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
            $( ( $value:ident : $value_ty:ty $(, bare $bare:pat )? ) )?
            $( {
                $(
                    $(#[$field_meta:meta])*
                    $field:ident : $ty:ty $( as $always:ident )? $( { $($versions:pat => $codec:ident),+ $(,)? } )?
                ),* $(,)?
            } )?
            $( [ $(#[$option_meta:meta])* $option:ident : $option_ty:ty ] )?
        ),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        $vis enum $Name {
            $( $(#[$variant_meta])* $Variant $( ( $value_ty ) )? $( { $( $(#[$field_meta])* $field: $ty ),* } )? $( { $(#[$option_meta])* $option: $option_ty } )?, )*
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
                        let parse = |input: &'a [u8]| -> $crate::wire::Parsed<'a, Self> {
                            $(
                                let (input, $value): (&[u8], $value_ty) = $crate::wire!(@unless_bare source.version(), (input, Default::default()), {
                                    let input = $crate::wire::tag::$parameters(input)?;
                                    <$value_ty as $crate::wire::Wire>::parse(source, input)?
                                } $(, $bare)?);
                            )?
                            $(
                                let input = $crate::wire::tag::$parameters(input)?;
                                $( $crate::wire!(@parse source, input, $field: $ty $( as $always )? $( { $($versions => $codec),+ } )?); )*
                            )?
                            $(
                                let (input, $option) = if input.is_empty() { (input, Default::default()) } else {
                                    let input = $crate::wire::tag::$parameters(input)?;
                                    <$option_ty as $crate::wire::Wire>::parse(source, input)?
                                };
                            )?
                            Ok((input, Self::$Variant { $( 0: $value )? $( $($field),* )? $( $option )? }))
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
                        Self::$Variant { $( 0: $value )? $( $($field),* )? $( $option )? } => {
                            $(
                                $crate::wire!(@unless_bare version, return, () $(, $bare)?);
                                $crate::wire::tag::separate::$style(out);
                                <$value_ty as $crate::wire::Wire>::put($value, version, out);
                            )?
                            $(
                                $crate::wire::tag::separate::$style(out);
                                $( $crate::wire!(@put version, out, $field: $ty $( as $always )? $( { $($versions => $codec),+ } )?); )*
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
                            $(
                                let $value: $value_ty = $crate::wire!(@unless_bare version, Default::default(),
                                    <$value_ty as $crate::wire::Sample>::sample(version, rng) $(, $bare)?);
                            )?
                            $( $( $crate::wire!(@sample version, rng, $field: $ty $( as $always )? $( { $($versions => $codec),+ } )?); )* )?
                            $( let $option = <$option_ty>::default(); )?
                            Self::$Variant { $( 0: $value )? $( $($field),* )? $( $option )? }
                        },
                    )*
                ];
                $crate::wire::tag::choose(makers, rng)(version, rng)
            }
        }
    };

    (@unless_bare $version:expr, $bare_value:expr, $value:expr) => { $value };
    (@unless_bare $version:expr, $bare_value:expr, $value:expr, $bare:pat) => {
        match $version.0 { $bare => $bare_value, _ => $value }
    };

    (@parse $source:ident, $input:ident, $field:ident : $ty:ty) => {
        let ($input, $field) = <$ty as $crate::wire::Wire>::parse($source, $input)?;
    };
    (@parse $source:ident, $input:ident, $field:ident : $ty:ty as $codec:ident) => {
        let ($input, $field) = $crate::wire!(@codec $codec, $ty, parse($source, $input))?;
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
    (@put $version:ident, $out:ident, $field:ident : $ty:ty as $codec:ident) => {
        $crate::wire!(@codec $codec, $ty, put($field, $version, $out));
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
    (@sample $version:ident, $rng:ident, $field:ident : $ty:ty as $codec:ident) => {
        let $field = $crate::wire!(@codec_sample $codec, $ty, $version, $rng);
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
