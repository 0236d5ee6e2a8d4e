//! Templates: the texts of messages.
//!
//! Each kind has two: a text whose first line is `Subject: …`, and HTML. Both use Jinja's language
//! (minijinja). Values in HTML are escaped automatically. A name without a value is an error.
//! `build()` finds it, because it renders every template with made-up values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use minijinja::{
    AutoEscape, Environment, Error, Output, State, UndefinedBehavior, Value, escape_formatter,
};

use super::{MessageKind, Values};
use crate::base::clock::Timestamp;
use crate::config::check::ConfigError;

const LAYOUT: &str = "layout.html";
const SUBJECT: &str = "Subject: ";

/// The values that every message has.
const COMMON: [&str; 3] = ["service", "service_url", "at"];

/// The application's own templates, as the builder collects them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Own {
    /// By file name.
    pub(crate) sources: BTreeMap<String, String>,
    pub(crate) folder: Option<PathBuf>,
    /// The application's own kinds of messages.
    pub(crate) kinds: BTreeSet<&'static str>,
}

/// The checked templates of one instance.
#[derive(Debug)]
pub(crate) struct Templates {
    service: String,
    service_url: String,
    /// By file name.
    sources: BTreeMap<String, String>,
    /// The application's own kinds of messages.
    kinds: BTreeSet<&'static str>,
}

/// The texts of a message, and the values that were put into them.
pub(crate) struct Rendered {
    pub(crate) values: Values,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
}

impl Templates {
    /// Takes the built-in templates, and replaces them with the application's own.
    pub(crate) fn new(
        service: String,
        service_url: String,
        own: &Own,
    ) -> Result<Self, Vec<ConfigError>> {
        let mut sources =
            BTreeMap::from([(LAYOUT.to_owned(), include_str!("templates/layout.html").to_owned())]);
        for kind in MessageKind::ALL {
            let Some(built_in) = kind.built_in() else { continue };
            sources.insert(format!("{}.txt", kind.as_str()), built_in.text.to_owned());
            sources.insert(format!("{}.html", kind.as_str()), built_in.html.to_owned());
        }
        let mut errors = Vec::new();
        for kind in &own.kinds {
            if !MessageKind::is_own_name(kind) {
                let rule = "1 to 60 lower case letters, digits and `_`";
                errors.push(fault(format!("{kind:?} cannot be the name of a kind: use {rule}")));
                continue;
            }
            // A folder may contain these files too.
            let file = MessageKind::Own(kind).file();
            for file in [format!("{file}.txt"), format!("{file}.html")] {
                sources.insert(file, String::new());
            }
        }
        let from_folder = match own.folder.as_deref().map(read_folder).transpose() {
            Ok(read) => read.unwrap_or_default(),
            Err(error) => {
                errors.push(fault(format!("the folder cannot be read: {error}")));
                BTreeMap::new()
            }
        };
        for (name, source) in from_folder.into_iter().chain(own.sources.clone()) {
            if sources.insert(name.clone(), source).is_some() {
                continue;
            }
            // A misspelt file would be ignored silently, so it is an error.
            sources.remove(&name);
            let hint = "those of your own kinds begin with `app-`";
            errors.push(fault(format!("{name:?} is the name of no template; {hint}")));
        }
        let templates = Self { service, service_url, sources, kinds: own.kinds.clone() };
        let own = own.kinds.iter().filter(|kind| MessageKind::is_own_name(kind));
        let own = own.map(|kind| MessageKind::Own(kind));
        for kind in MessageKind::ALL.iter().copied().chain(own) {
            let mut values = Values::new();
            for name in kind.built_in().map_or(&[][..], |built_in| built_in.values) {
                values = values.with(name, "value");
            }
            // The values of the application's kinds are not declared: they are the names that their
            // templates use.
            for name in templates.missing(kind, &values) {
                if kind.built_in().is_none() {
                    values = values.with(&name, "value");
                }
            }
            let at = Timestamp::from_millis(0);
            if let Err(error) = templates.render(kind, values, at) {
                errors.push(fault(format!("{}: {error:#}", kind.file())));
            }
        }
        if errors.is_empty() { Ok(templates) } else { Err(errors) }
    }

    /// Renders the templates of a kind.
    pub(crate) fn render(
        &self,
        kind: MessageKind,
        mut values: Values,
        at: Timestamp,
    ) -> Result<Rendered, Error> {
        if let Some(built_in) = kind.built_in() {
            values.fill(built_in.values);
        }
        let environment = self.environment(kind)?;
        let values = values
            .with("service", &self.service)
            .with("service_url", &self.service_url)
            .with("at", at.for_people());
        let blanks = Value::from_pairs(values.iter());
        let fill = |extension: &str| {
            let name = format!("{}.{extension}", kind.file());
            environment.get_template(&name)?.render(blanks.clone())
        };
        let (text, html) = (fill("txt")?, fill("html")?);
        let (subject, text) = text
            .strip_prefix(SUBJECT)
            .and_then(|rest| rest.split_once('\n'))
            .map(|(subject, text)| (subject.trim().to_owned(), format!("{}\n", text.trim())))
            .filter(|(subject, text)| !subject.is_empty() && text != "\n")
            .ok_or_else(|| {
                let reason = "the text begins with a line `Subject: …`, and more follows";
                Error::new(minijinja::ErrorKind::InvalidOperation, reason)
            })?;
        Ok(Rendered { values, subject, text, html })
    }

    /// Returns the kind with this name in the outbox, if this node knows it.
    pub(crate) fn kind(&self, stored: &str) -> Option<MessageKind> {
        match MessageKind::own_name(stored) {
            Some(name) => self.own_kind(name),
            None => MessageKind::ALL.iter().copied().find(|kind| kind.as_str() == stored),
        }
    }

    /// Returns the application's kinds.
    pub(crate) fn own_kinds(&self) -> impl Iterator<Item = MessageKind> + use<'_> {
        self.kinds.iter().map(|kind| MessageKind::Own(kind))
    }

    /// Returns the application's kind with this name.
    pub(crate) fn own_kind(&self, name: &str) -> Option<MessageKind> {
        self.kinds.get(name).map(|kind| MessageKind::Own(kind))
    }

    /// Returns the names that the templates of a kind use and that have no value.
    pub(crate) fn missing(&self, kind: MessageKind, values: &Values) -> Vec<String> {
        let Ok(environment) = self.environment(kind) else { return Vec::new() };
        let names: BTreeSet<String> = ["txt", "html"]
            .iter()
            .filter_map(|extension| {
                let name = format!("{}.{extension}", kind.file());
                Some(environment.get_template(&name).ok()?.undeclared_variables(false))
            })
            .flatten()
            .filter(|name| !COMMON.contains(&name.as_str()) && values.get(name).is_none())
            .collect();
        names.into_iter().collect()
    }

    /// Returns the templates of one kind.
    fn environment(&self, kind: MessageKind) -> Result<Environment<'_>, Error> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_formatter(write_value);
        for filter in ["escape", "e"] {
            environment.add_filter(filter, escape);
        }
        let file = kind.file();
        for (name, source) in &self.sources {
            let of_kind = name.strip_prefix(&*file).is_some_and(|rest| rest.starts_with('.'));
            if of_kind || name == LAYOUT {
                environment.add_template(name, source)?;
            }
        }
        Ok(environment)
    }
}

/// Writes a value into a message. Only five characters are escaped in HTML. minijinja also writes
/// `/` as `&#x2f;`, which a browser shows as `/`. But some mail programs look for `https://` in the
/// source, and would not make such a text a link.
fn write_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    if *state.auto_escape() != AutoEscape::Html || value.is_safe() || value.is_undefined() {
        return escape_formatter(out, state, value);
    }
    out.write_str(&escape_html(&value.to_string())).map_err(Error::from)
}

/// The filter `escape`, for the application's own templates.
fn escape(value: &Value) -> Value {
    if value.is_safe() {
        return value.clone();
    }
    Value::from_safe_string(escape_html(&value.to_string()))
}

fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn fault(reason: String) -> ConfigError {
    ConfigError::Knob { knob: "mail templates", reason }
}

/// Reads every file of a folder, by name.
fn read_folder(folder: &Path) -> std::io::Result<BTreeMap<String, String>> {
    let mut sources = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            sources.insert(name, std::fs::read_to_string(entry.path())?);
        }
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built_in(kind: MessageKind) -> super::super::kind::BuiltIn {
        kind.built_in().expect("it is none of the application's own")
    }

    fn templates(own: &[(&str, &str)]) -> Result<Templates, String> {
        let sources = own.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let own = Own { sources, ..Own::default() };
        Templates::new("The <b>Shop</b>".to_owned(), "https://shop.example".to_owned(), &own)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_kind_says_something_and_keeps_its_values_out_of_the_markup() {
        let templates = templates(&[]).expect("the built-in ones are right");
        for kind in MessageKind::ALL {
            let mut values = Values::new();
            for name in built_in(*kind).values {
                values = values.with(name, format!("<a href=//evil.example>{name}</a>"));
            }
            let rendered = templates.render(*kind, values, Timestamp::from_millis(0));
            let Rendered { subject, text, html, .. } = rendered.expect("it renders");
            assert!(!subject.contains('\n') && subject.contains("The <b>Shop</b>"), "{subject}");
            // These only choose what is said.
            let said = |name: &&&str| !["purpose", "by_browser", "linked"].contains(*name);
            for name in built_in(*kind).values.iter().filter(said) {
                assert!(text.contains(&format!(">{name}</a>")), "{kind:?} does not say {name}");
                assert!(html.contains(name), "{kind:?} does not say {name}");
            }
            assert!(!html.contains("<a href=//evil") && !html.contains("<b>Shop"), "{html}");
            assert!(
                html.starts_with("<!doctype html>") && html.contains("&lt;b&gt;Shop"),
                "{html}"
            );
        }
    }

    #[test]
    fn five_characters_are_escaped_in_html_and_no_others() {
        let link = "https://shop.example/a?b=c&d=e#/f`=";
        let source = "{{ link }} {{ link|e }} {{ link|escape }} {{ link|safe }} {{ [link] }} \
                      {% autoescape false %}{{ link }} {{ link|e }}{% endautoescape %} {{ 1/2 }}";
        let templates = templates(&[("verify_address.html", source)]).expect("it is right");
        let html = |link: &str| {
            let values = Values::new().with("link", link);
            let rendered =
                templates.render(MessageKind::VerifyAddress, values, Timestamp::from_millis(0));
            rendered.expect("it renders").html
        };
        let escaped = link.replace('&', "&amp;");
        assert_eq!(
            html(link),
            format!(
                "{escaped} {escaped} {escaped} {link} [&#39;{escaped}&#39;] {link} {escaped} 0.5"
            )
        );
        assert!(html("<a b='c'>\"").starts_with("&lt;a b=&#39;c&#39;&gt;&quot; &lt;a"));
        // The built-in templates use links like this, so that every mail program finds them.
        let templates = self::templates(&[]).expect("the built-in ones are right");
        for kind in MessageKind::ALL.iter().filter(|kind| built_in(**kind).values.contains(&"link"))
        {
            let values = Values::new().with("link", link);
            let rendered = templates.render(*kind, values, Timestamp::from_millis(0));
            let html = rendered.expect("it renders").html;
            assert!(html.contains(&format!("<a href=\"{escaped}\">{escaped}</a>")), "{html}");
        }
    }

    #[test]
    fn values_that_are_not_given_leave_no_trace() {
        let templates = templates(&[]).expect("the built-in ones are right");
        for kind in MessageKind::ALL {
            let Rendered { text, html, .. } = templates
                .render(*kind, Values::new(), Timestamp::from_millis(0))
                .expect("it renders");
            for leftover in ["{{", "{%", "undefined", "None", "()"] {
                assert!(!text.contains(leftover) && !html.contains(leftover), "{kind:?}: {text}");
            }
        }
    }

    #[test]
    fn own_templates_are_taken_and_faulty_ones_refused_by_name() {
        let own = ("password_changed.txt", "Subject: Neu\n\nHallo, {{ at }}, {{ address }}");
        let templates_ = templates(&[own]).expect("it is right");
        let values = Values::new().with("address", "::1");
        let rendered = templates_
            .render(MessageKind::PasswordChanged, values, Timestamp::from_millis(0))
            .expect("it renders");
        assert_eq!(rendered.subject, "Neu");
        assert_eq!(rendered.text, "Hallo, 1 January 1970, 00:00 UTC, ::1\n");
        for (name, source, complaint) in [
            ("password_change.txt", "Subject: a\n\nb", "password_change.txt"),
            ("password_changed.txt", "Subject: a\n\n{{ adress }}", "password_changed"),
            ("password_changed.txt", "Subject: a\n\n{% if x", "password_changed"),
            ("password_changed.txt", "no subject\n\nb", "Subject"),
            ("password_changed.txt", "Subject: a", "Subject"),
            ("password_changed.html", "{{ link }}", "password_changed"),
            ("password_changed.html", "{% include 'new_device.txt' %}", "password_changed"),
            ("layout.html", "{{ nothing }}", "password_changed"),
        ] {
            let error = templates(&[(name, source)]).expect_err("it is faulty");
            assert!(error.contains(complaint), "{error}");
        }
    }

    #[test]
    fn every_message_has_the_common_values() {
        let text = COMMON.map(|name| format!("{{{{ {name} }}}}")).join(" ");
        let source = format!("Subject: {text}\n\n{text}");
        templates(&[("new_device.txt", &source)]).expect("all of them are there");
    }
}
