//! Permissions as types, checked by the compiler.

use super::language::{Permission, PermissionError};

/// A permission that is known when the program is compiled, for [`Allowed`](crate::Allowed) and
/// [`Requirement::typed`](crate::Requirement::typed). Usually [`permissions!`](crate::permissions)
/// makes it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a typed permission",
    label = "not declared with `portcullis::permissions!`",
    note = "declare it: `portcullis::permissions! {{ printer: Print }}` makes `printer::Print`"
)]
pub trait TypedPermission: Send + Sync + 'static {
    /// The permission's text, such as `printer:print`.
    const TEXT: &'static str;
}

/// A value that names a permission in a check: a parsed permission, its text, or one declared with
/// [`permissions!`](crate::permissions).
pub trait IntoPermission {
    /// Returns the permission.
    ///
    /// # Errors
    /// The text is not a permission.
    fn into_permission(self) -> Result<Permission, PermissionError>;
}

impl IntoPermission for &Permission {
    fn into_permission(self) -> Result<Permission, PermissionError> {
        Ok(self.clone())
    }
}

impl IntoPermission for &str {
    fn into_permission(self) -> Result<Permission, PermissionError> {
        Permission::parse(self)
    }
}

impl<P: TypedPermission> IntoPermission for P {
    fn into_permission(self) -> Result<Permission, PermissionError> {
        Permission::parse(P::TEXT)
    }
}

/// Declares permissions as types, checked when the program is compiled.
///
/// Each domain becomes a module, and each action a type in it. The text is the name in lower case
/// unless you give another one. `ALL` lists the permissions. `CATALOGUE` lists them with their
/// documentation, for [`sync`](crate::permission::Catalogue::sync).
///
/// ```
/// use portcullis::{Allowed, TypedPermission};
///
/// portcullis::permissions! {
///     printer: Query, Print;
///     dashboard = "admin-dashboard": Info, SendMail = "send-mail";
/// }
///
/// async fn print(_: Allowed<printer::Print>) -> &'static str {
///     "printing"
/// }
///
/// assert_eq!(printer::Print::TEXT, "printer:print");
/// assert_eq!(dashboard::SendMail::TEXT, "admin-dashboard:send-mail");
/// assert_eq!(ALL.len(), 4);
/// ```
///
/// Write the description of a permission before it:
///
/// ```
/// portcullis::permissions! {
///     printer: /// Prints a page.
///              Print, Query;
/// }
///
/// assert_eq!(CATALOGUE, [("printer:print", " Prints a page."), ("printer:query", "")]);
/// ```
///
/// A permission that is not declared does not compile (`cannot find type Prnt in module printer`):
///
/// ```compile_fail,E0425
/// portcullis::permissions! { printer: Print; }
/// fn print(_: portcullis::Allowed<printer::Prnt>) {}
/// ```
///
/// A text with permission syntax or white space does not compile either:
///
/// ```compile_fail,E0080
/// portcullis::permissions! { printer: Print = "print,query"; }
/// ```
///
/// ```compile_fail,E0080
/// portcullis::permissions! { printer: Print = "print it"; }
/// ```
///
/// ```compile_fail,E0080
/// portcullis::permissions! { printer: Print = ""; }
/// ```
///
/// The domains that start with `auth-` belong to portcullis:
///
/// ```compile_fail,E0080
/// portcullis::permissions! { account = "auth-account": Manage; }
/// ```
#[macro_export]
macro_rules! permissions {
    ($(
        $domain:ident $(= $domain_text:literal)? : $(
            $(#[doc = $description:literal])* $action:ident $(= $action_text:literal)?
        ),+ $(,)?
    );+ $(;)?) => {
        $(
            #[doc = concat!("Permissions of `", stringify!($domain), "`.")]
            pub mod $domain {
                const DOMAIN: &str = $crate::permissions!(@text $domain $(, $domain_text)?);

                $(
                    #[doc = concat!("`", stringify!($domain), ": ", stringify!($action), "`")]
                    $(#[doc = $description])*
                    #[derive(Debug, Clone, Copy)]
                    pub struct $action;

                    impl $crate::TypedPermission for $action {
                        const TEXT: &'static str = {
                            const ACTION: &str =
                                $crate::permissions!(@text $action $(, $action_text)?);
                            const LENGTH: usize = DOMAIN.len() + 1 + ACTION.len();
                            const BYTES: [u8; LENGTH] =
                                $crate::permission::typed::join::<LENGTH>(DOMAIN, ACTION);
                            $crate::permission::typed::text(&BYTES)
                        };
                    }

                    // Checks the text at its declaration, even if it is never used.
                    const _: &str = <$action as $crate::TypedPermission>::TEXT;
                )+
            }
        )+

        /// Every permission declared here.
        pub const ALL: &[&str] =
            &[$( $( <$domain::$action as $crate::TypedPermission>::TEXT ),+ ),+];

        /// The same with their descriptions, from their documentation.
        pub const CATALOGUE: &[(&str, &str)] = &[$( $( (
            <$domain::$action as $crate::TypedPermission>::TEXT,
            concat!($($description),*),
        ) ),+ ),+];
    };
    (@text $name:ident, $text:literal) => { $text };
    (@text $name:ident) => {{
        const NAME: &str = stringify!($name);
        const LOWER: [u8; NAME.len()] = $crate::permission::typed::lower::<{ NAME.len() }>(NAME);
        $crate::permission::typed::text(&LOWER)
    }};
}

/// Returns the name in lower case.
#[doc(hidden)]
pub const fn lower<const N: usize>(name: &str) -> [u8; N] {
    let bytes = name.as_bytes();
    let mut lower = [0; N];
    let mut at = 0;
    while at < N {
        lower[at] = bytes[at].to_ascii_lowercase();
        at += 1;
    }
    lower
}

/// Returns `domain:action`. Both must be tokens of the permission language.
#[doc(hidden)]
pub const fn join<const N: usize>(domain: &str, action: &str) -> [u8; N] {
    check(domain.as_bytes());
    assert!(
        !super::reserved::is_reserved_domain(domain.as_bytes()),
        "the domains that begin with `auth-` belong to portcullis"
    );
    check(action.as_bytes());
    assert!(N <= Permission::MAX_BYTES, "a permission has at most 256 bytes");
    let mut joined = [b':'; N];
    let mut at = 0;
    while at < domain.len() {
        joined[at] = domain.as_bytes()[at];
        at += 1;
    }
    let mut at = 0;
    while at < action.len() {
        joined[domain.len() + 1 + at] = action.as_bytes()[at];
        at += 1;
    }
    joined
}

const fn check(token: &[u8]) {
    assert!(!token.is_empty(), "a part of a permission must not be empty");
    let mut at = 0;
    while at < token.len() {
        let byte = token[at];
        assert!(
            byte != b':' && byte != b',' && byte != b'*',
            "`:`, `,` and `*` are syntax; a typed permission names one action of one domain"
        );
        assert!(
            byte.is_ascii_graphic(),
            "a typed permission has no white space and only ASCII characters"
        );
        at += 1;
    }
}

/// Returns the bytes as text.
#[doc(hidden)]
pub const fn text(bytes: &'static [u8]) -> &'static str {
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("a permission is UTF-8"),
    }
}
