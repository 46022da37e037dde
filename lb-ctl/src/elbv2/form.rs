//! Parameters of a request: a form of dotted keys (`Targets.member.1.Id=198.19.1.2`) as the tree that it stands for.
//!
//! A [`Form`] is what came; [`Parameters`] reads one level of it, and refuses by the API's own words what does not fit.

use std::{collections::BTreeMap, fmt::Display, ops::RangeInclusive, str::FromStr};

use super::fault::Fault;

/// What a request says.
#[derive(Debug, Default)]
pub(super) struct Form {
    text: Option<String>,
    children: BTreeMap<String, Form>,
}

impl Form {
    /// Reads a query or a form body. The last of two values under one key counts.
    pub(super) fn parse(encoded: &[u8]) -> Result<Form, Fault> {
        let mut form = Form::default();
        for (number, (key, value)) in form_urlencoded::parse(encoded).enumerate() {
            if number == PARAMETERS {
                return Err(Fault::new("MalformedQueryString", format!("more than {PARAMETERS} parameters")));
            }
            form.insert(&key, value.into_owned())?;
        }
        Ok(form)
    }

    fn insert(&mut self, key: &str, value: String) -> Result<(), Fault> {
        let mut at = self;
        for (depth, part) in key.split('.').enumerate() {
            if part.is_empty() || depth == DEPTH {
                return Err(Fault::new(
                    "MalformedQueryString",
                    format!("the parameter {key:?} is malformed"),
                ));
            }
            at = at.children.entry(part.into()).or_default();
        }
        at.text = Some(value);
        Ok(())
    }

    /// The parameters at the top.
    pub(super) fn parameters(&self) -> Parameters<'_> {
        Parameters { form: self, path: String::new() }
    }
}

/// One level of a request's parameters, and where in the request it is.
#[derive(Clone, Debug)]
pub(super) struct Parameters<'f> {
    form: &'f Form,
    path: String,
}

impl<'f> Parameters<'f> {
    /// Refuses every parameter that is not in `known`: what would be ignored must not look as if it were in force.
    pub(super) fn allow_only(&self, known: &[&str]) -> Result<(), Fault> {
        match self.form.children.keys().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => Err(Fault::constraint(
                &self.path_of(unknown),
                self.form.children[unknown].text.as_deref(),
                &format!("Member must be one of: {}", known.join(", ")),
            )),
            None => Ok(()),
        }
    }

    /// Whether the parameter is given, be it a text, a list or a structure.
    pub(super) fn has(&self, name: &str) -> bool {
        self.form.children.contains_key(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&'f str> {
        self.form.children.get(name)?.text.as_deref()
    }

    pub(super) fn required_text(&self, name: &str) -> Result<&'f str, Fault> {
        self.text(name).filter(|text| !text.is_empty()).ok_or_else(|| self.missing(name))
    }

    /// One of the values of an enumeration.
    pub(super) fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>, Fault> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match choices.iter().find(|(known, _)| *known == text) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => {
                let known = choices.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
                let constraint = format!("Member must satisfy enum value set: [{known}]");
                Err(Fault::constraint(&self.path_of(name), Some(text), &constraint))
            }
        }
    }

    pub(super) fn number<N: FromStr + PartialOrd + Display>(
        &self,
        name: &str,
        range: RangeInclusive<N>,
    ) -> Result<Option<N>, Fault> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let constraint =
                    format!("Member must have a value from {} to {}", range.start(), range.end());
                Err(Fault::constraint(&self.path_of(name), Some(text), &constraint))
            }
        }
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, Fault> {
        self.choice(name, &[("true", true), ("false", false)])
    }

    /// The structure under a name; an empty one when it is not given.
    pub(super) fn structure(&self, name: &str) -> Parameters<'f> {
        Parameters { form: self.form.children.get(name).unwrap_or(&NOTHING), path: self.path_of(name) }
    }

    /// The members of a list, in the order of their numbers; none when it is not given.
    pub(super) fn list(&self, name: &str) -> Result<Vec<Parameters<'f>>, Fault> {
        let list = self.structure(name);
        let Some(members) = list.form.children.get("member") else {
            return list.allow_only(&[]).map(|()| Vec::new());
        };
        list.allow_only(&["member"])?;
        let mut numbered = Vec::new();
        for (number, form) in &members.children {
            let index: usize = number.parse().map_err(|_| {
                Fault::new("MalformedQueryString", format!("{name}.member.{number} has no number"))
            })?;
            let path = format!("{}.{index}.member", list.path);
            numbered.push((index, Parameters { form, path }));
        }
        numbered.sort_by_key(|(index, _)| *index);
        Ok(numbered.into_iter().map(|(_, member)| member).collect())
    }

    /// The same, where there must be at least one.
    pub(super) fn required_list(&self, name: &str) -> Result<Vec<Parameters<'f>>, Fault> {
        let members = self.list(name)?;
        if members.is_empty() { Err(self.missing(name)) } else { Ok(members) }
    }

    /// A list of texts.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&'f str>, Fault> {
        self.list(name)?.iter().map(Parameters::own_text).collect()
    }

    /// The same, where there must be at least one.
    pub(super) fn required_texts(&self, name: &str) -> Result<Vec<&'f str>, Fault> {
        self.required_list(name)?.iter().map(Parameters::own_text).collect()
    }

    /// Refuses the value of a parameter of this level.
    pub(super) fn refuse(&self, name: &str, constraint: &str) -> Fault {
        Fault::constraint(&self.path_of(name), self.text(name), constraint)
    }

    pub(super) fn missing(&self, name: &str) -> Fault {
        Fault::constraint(&self.path_of(name), None, "Member must not be null")
    }

    fn own_text(&self) -> Result<&'f str, Fault> {
        let text = self.form.text.as_deref();
        text.ok_or_else(|| Fault::constraint(&self.path, None, "Member must not be null"))
    }

    /// As the API writes it: the first letter small.
    fn path_of(&self, name: &str) -> String {
        let mut letters = name.chars();
        let name: String =
            letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect();
        if self.path.is_empty() { name } else { format!("{}.{name}", self.path) }
    }
}

static NOTHING: Form = Form { text: None, children: BTreeMap::new() };

/// Most parameters of a request: a thousand targets with all that can be said of each are four thousand.
const PARAMETERS: usize = 8_192;

/// Most parts of a key; `DefaultActions.member.1.ForwardConfig.TargetGroups.member.1.Weight` has eight.
const DEPTH: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        Form::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn dotted_keys_are_a_tree() {
        let form = form(
            "Action=RegisterTargets&Targets.member.10.Id=c&Targets.member.2.Id=b&Targets.member.2.Port=80&\
             Targets.member.1.Id=a%26b&Names.member.1=x+y&Matcher.HttpCode=200&Empty=",
        );
        let parameters = form.parameters();
        let targets = parameters.required_list("Targets").unwrap();
        let ids: Vec<_> = targets.iter().map(|target| target.required_text("Id").unwrap()).collect();
        assert_eq!(ids, ["a&b", "b", "c"]);
        assert_eq!(targets[1].number("Port", 1..=65_535_u16), Ok(Some(80)));
        assert_eq!(targets[0].number::<u16>("Port", 1..=65_535), Ok(None));
        assert_eq!(parameters.texts("Names"), Ok(vec!["x y"]));
        assert_eq!(parameters.structure("Matcher").text("HttpCode"), Some("200"));
        assert_eq!(parameters.list("Empty").unwrap().len(), 0);
        assert_eq!(parameters.list("Absent").unwrap().len(), 0);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_its_path() {
        let form =
            form("Targets.member.1.Port=0&Scheme=public&Targets.member.2.Id=x&Names.member.x=1&Names.1=2");
        let parameters = form.parameters();
        let targets = parameters.list("Targets").unwrap();
        for (fault, path) in [
            (targets[0].number("Port", 1..=65_535_u16).unwrap_err(), "Value '0' at 'targets.1.member.port'"),
            (targets[0].required_text("Id").unwrap_err(), "Value null at 'targets.1.member.id'"),
            (parameters.choice("Scheme", &[("internal", ())]).unwrap_err(), "Value 'public' at 'scheme'"),
            (parameters.required_texts("Arns").unwrap_err(), "Value null at 'arns'"),
            (parameters.allow_only(&["Scheme", "Targets"]).unwrap_err(), "Value null at 'names'"),
        ] {
            assert_eq!(fault.code, "ValidationError");
            assert!(fault.message.contains(path), "{}", fault.message);
        }
        assert!(parameters.texts("Names").is_err());
    }

    #[test]
    fn hostile_forms_are_refused_or_harmless() {
        for malformed in ["a..b=1", ".a=1", "a.=1", "=1", "a.a.a.a.a.a.a.a.a.a.a.a.a=1"] {
            assert_eq!(
                Form::parse(malformed.as_bytes()).unwrap_err().code,
                "MalformedQueryString",
                "{malformed}"
            );
        }
        assert!(Form::parse("a=1&".repeat(PARAMETERS + 1).as_bytes()).is_err());
        let huge = form("T.member.18446744073709551616=1");
        assert!(huge.parameters().texts("T").is_err());
        assert!(Form::parse(b"%ff%fe=%00&%zz&&&").is_ok());
    }
}
