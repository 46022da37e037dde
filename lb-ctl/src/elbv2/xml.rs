//! Writes XML: elements with text or children, escaped by the rules of XML 1.0.

use std::borrow::Cow;

/// An element. Names are this crate's own, or an action's that it knows, and need no escaping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    name: Cow<'static, str>,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Text(String),
    Children(Vec<Element>),
}

impl Element {
    /// Without content.
    pub(super) fn new(name: impl Into<Cow<'static, str>>) -> Element {
        Element { name: name.into(), content: Content::Children(Vec::new()) }
    }

    pub(super) fn of_text(name: &'static str, text: impl ToString) -> Element {
        Element { name: name.into(), content: Content::Text(text.to_string()) }
    }

    /// A list, as the Query protocol has it: each item is an element `member`.
    pub(super) fn of_members(name: &'static str, items: impl IntoIterator<Item = Element>) -> Element {
        let member = |item: Element| Element { name: "member".into(), ..item };
        Element { name: name.into(), content: Content::Children(items.into_iter().map(member).collect()) }
    }

    /// A list of texts.
    pub(super) fn of_texts<T: ToString>(name: &'static str, items: impl IntoIterator<Item = T>) -> Element {
        Element::of_members(name, items.into_iter().map(|text| Element::of_text("member", text)))
    }

    /// With one more child. Only elements without text have children.
    pub(super) fn with(mut self, child: Element) -> Element {
        if let Content::Children(children) = &mut self.content {
            children.push(child);
        }
        self
    }

    pub(super) fn with_text(self, name: &'static str, text: impl ToString) -> Element {
        self.with(Element::of_text(name, text))
    }

    pub(super) fn with_optional(self, name: &'static str, text: Option<impl ToString>) -> Element {
        match text {
            Some(text) => self.with_text(name, text),
            None => self,
        }
    }

    /// The same content under another name.
    pub(super) fn named(self, name: impl Into<Cow<'static, str>>) -> Element {
        Element { name: name.into(), ..self }
    }

    /// As the root of a document, in the API's namespace.
    pub(super) fn document(&self) -> String {
        let name = &self.name;
        let mut document =
            format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{name} xmlns=\"{NAMESPACE}\">");
        self.write_content(&mut document);
        self.close(&mut document);
        document
    }

    fn write(&self, to: &mut String) {
        to.push('<');
        to.push_str(&self.name);
        to.push('>');
        self.write_content(to);
        self.close(to);
    }

    fn close(&self, to: &mut String) {
        to.push_str("</");
        to.push_str(&self.name);
        to.push('>');
    }

    fn write_content(&self, to: &mut String) {
        match &self.content {
            Content::Text(text) => text.chars().for_each(|character| escape(character, to)),
            Content::Children(children) => children.iter().for_each(|child| child.write(to)),
        }
    }
}

/// Section 2.4 of XML 1.0; a carriage return would be read as a line feed (2.11), and most other control characters have no
/// place in a document at all (2.2).
fn escape(character: char, to: &mut String) {
    match character {
        '&' => to.push_str("&amp;"),
        '<' => to.push_str("&lt;"),
        '>' => to.push_str("&gt;"),
        '\r' => to.push_str("&#13;"),
        '\t' | '\n' => to.push(character),
        '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => to.push(char::REPLACEMENT_CHARACTER),
        _ => to.push(character),
    }
}

/// The API's namespace, by its version of 2015-12-01.
const NAMESPACE: &str = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_members_and_text_is_escaped() {
        let element = Element::new("Listener")
            .with_text("Port", 80)
            .with_optional("SslPolicy", None::<&str>)
            .with(Element::of_texts("Names", ["a<b", "\u{1}&\r"]))
            .with(Element::of_members("Empty", []));
        let document = element.document();
        let (head, body) = document.split_once('\n').unwrap();
        assert_eq!(head, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
        assert_eq!(
            body,
            format!(
                "<Listener xmlns=\"{NAMESPACE}\"><Port>80</Port><Names><member>a&lt;b</member>\
                 <member>\u{fffd}&amp;&#13;</member></Names><Empty></Empty></Listener>"
            )
        );
    }
}
