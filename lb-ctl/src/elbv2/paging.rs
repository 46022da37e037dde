//! Pages of long answers: `PageSize` and `Marker`.

use super::{fault::Fault, form::Parameters, xml::Element};

/// An item with what it is ordered by. A marker is the last item's, so pages go on rightly though items come and go meanwhile.
pub(super) struct Item {
    pub(super) order: String,
    pub(super) element: Element,
}

/// The page that a request asks for, as the list `name` with the `NextMarker` after it.
pub(super) fn page(
    mut items: Vec<Item>,
    name: &'static str,
    parameters: &Parameters<'_>,
) -> Result<Element, Fault> {
    let size = parameters.number("PageSize", 1..=PAGE_ITEMS)?.unwrap_or(PAGE_ITEMS);
    items.sort_by(|one, other| one.order.cmp(&other.order));
    if let Some(marker) = parameters.text("Marker") {
        items.retain(|item| *item.order > *marker);
    }
    let is_last = items.len() <= size;
    items.truncate(size);
    let marker = items.last().filter(|_| !is_last).map(|item| item.order.clone());
    let list = Element::of_members(name, items.into_iter().map(|item| item.element));
    Ok(Element::new("Result").with(list).with_optional("NextMarker", marker))
}

/// Most items of a page, which is also what a request gets that asks for no size.
const PAGE_ITEMS: usize = 400;

#[cfg(test)]
mod tests {
    use super::{super::form::Form, *};

    fn pages(size: usize, without: Option<&str>) -> Vec<String> {
        let (mut shown, mut marker) = (Vec::new(), String::new());
        loop {
            let names =
                ["c", "a", "d", "b"].iter().filter(|name| shown.is_empty() || Some(**name) != without);
            let items = names
                .map(|name| Item { order: (*name).into(), element: Element::of_text("Name", name) })
                .collect();
            let form = Form::parse(format!("PageSize={size}&Marker={marker}").as_bytes()).unwrap();
            let document = page(items, "Names", &form.parameters()).unwrap().document();
            shown.push(document.chars().filter(|letter| "abcd".contains(*letter)).count().to_string());
            let Some((_, next)) = document.split_once("<NextMarker>") else { return shown };
            marker = next[..1].into();
        }
    }

    #[test]
    fn every_item_comes_once() {
        let form = Form::parse(b"PageSize=2").unwrap();
        let item = |name: &&str| Item { order: (*name).into(), element: Element::of_text("N", name) };
        let first = page(["c", "a", "b"].iter().map(item).collect(), "L", &form.parameters()).unwrap();
        assert!(
            first
                .document()
                .contains("<L><member>a</member><member>b</member></L><NextMarker>b</NextMarker>")
        );
        assert_eq!(pages(4, None).len(), 1);
        assert_eq!(pages(3, None).len(), 2);
        assert_eq!(pages(1, None).len(), 4);
        // The item that the marker names is gone when the next page is asked for.
        assert_eq!(pages(2, Some("b")).len(), 2);
    }

    #[test]
    fn a_page_has_its_limits() {
        for size in ["0", "401", "x"] {
            let form = Form::parse(format!("PageSize={size}").as_bytes()).unwrap();
            assert_eq!(page(Vec::new(), "L", &form.parameters()).unwrap_err().code, "ValidationError");
        }
    }
}
