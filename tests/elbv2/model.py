"""Holds answers against botocore's model of the API: no unknown element, every constraint of the output shapes kept.

boto3's own parser skips what it does not know, so the raw XML is walked here, beside it.
"""

import datetime
import re
import xml.etree.ElementTree as ElementTree

NAMESPACE = "{http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/}"

# The model's patterns have Unicode classes that Python's `re` lacks.
CLASSES = {r"\p{L}": "a-zA-Z\u00aa-\uffdc", r"\p{Z}": r"\s", r"\p{N}": r"\d"}


class Broken(AssertionError):
    """An answer that is not as the model says."""


def watch(client):
    """Checks every successful answer of a boto3 client. Returns the set of operations whose answers were seen."""
    seen = set()

    def check(operation_model, response_dict, **_):
        if response_dict["status_code"] == 200:
            check_document(operation_model, response_dict["body"])
            seen.add(operation_model.name)
        else:
            check_error(operation_model, response_dict)

    client.meta.events.register("before-parse.elastic-load-balancing-v2", check)
    return seen


def check_document(operation, body):
    root = ElementTree.fromstring(body)
    expect(root.tag == f"{NAMESPACE}{operation.name}Response", f"the root is {root.tag}")
    children = {child.tag.removeprefix(NAMESPACE): child for child in root}
    result = f"{operation.name}Result"
    expect(set(children) == {result, "ResponseMetadata"}, f"{operation.name}: {sorted(children)}")
    expect(text_of(children["ResponseMetadata"].find(f"{NAMESPACE}RequestId")), "a request has an id")
    check_element(children[result], operation.output_shape, operation.name)


def check_error(operation, response):
    root = ElementTree.fromstring(response["body"])
    expect(root.tag == f"{NAMESPACE}ErrorResponse", f"the root is {root.tag}")
    code = root.findtext(f"{NAMESPACE}Error/{NAMESPACE}Code")
    kind = root.findtext(f"{NAMESPACE}Error/{NAMESPACE}Type")
    expect(root.findtext(f"{NAMESPACE}Error/{NAMESPACE}Message"), f"{code} says something")
    expect(root.findtext(f"{NAMESPACE}RequestId"), f"{code} has a request id")
    status = response["status_code"]
    expect(kind == ("Sender" if status < 500 else "Receiver"), f"{code}: {kind} at {status}")
    modelled = {error(shape)["code"]: error(shape)["httpStatusCode"] for shape in operation.error_shapes}
    expect(modelled.get(code, COMMON.get(code)) == status, f"{operation.name} answered {code} with {status}")


def error(shape):
    return shape.metadata["error"]


def check_element(element, shape, path):
    """An element of the answer."""
    if shape.type_name == "structure":
        names = [child.tag.removeprefix(NAMESPACE) for child in element]
        expect(len(names) == len(set(names)), f"{path}: an element twice in {names}")
        for child, name in zip(element, names):
            expect(name in shape.members, f"{path}: {name} is unknown")
            check_element(child, shape.members[name], f"{path}.{name}")
        missing = set(shape.required_members) - set(names)
        expect(not missing, f"{path}: {missing} missing")
    elif shape.type_name == "list":
        for child in element:
            expect(child.tag == f"{NAMESPACE}member", f"{path}: {child.tag} in a list")
            check_element(child, shape.member, f"{path}[]")
        check_length(element, shape, path)
    else:
        expect(len(element) == 0, f"{path} has children")
        check_scalar(element.text or "", shape, path)


def check_parsed(value, shape, path):
    """A part of what the command line printed as JSON."""
    if shape.type_name == "structure":
        for name, part in value.items():
            expect(name in shape.members, f"{path}: {name} is unknown")
            check_parsed(part, shape.members[name], f"{path}.{name}")
        missing = set(shape.required_members) - set(value)
        expect(not missing, f"{path}: {missing} missing")
    elif shape.type_name == "list":
        for part in value:
            check_parsed(part, shape.member, f"{path}[]")
        check_length(value, shape, path)
    elif shape.type_name == "boolean":
        expect(isinstance(value, bool), f"{path} is {value!r}")
    else:
        check_scalar(str(value), shape, path)


def check_scalar(text, shape, path):
    rules = shape.metadata
    kind = shape.type_name
    if kind in ("integer", "long"):
        expect(re.fullmatch(r"-?\d+", text), f"{path} is {text!r}")
        expect(rules.get("min", int(text)) <= int(text) <= rules.get("max", int(text)), f"{path} is {text}")
    elif kind == "boolean":
        expect(text in ("true", "false"), f"{path} is {text!r}")
    elif kind == "timestamp":
        expect(datetime.datetime.fromisoformat(text).tzinfo is not None, f"{path} is {text!r}")
    elif kind == "string":
        expect(not shape.enum or text in shape.enum, f"{path} is {text!r}, expected one of {shape.enum}")
        check_size(len(text), shape, path)
        pattern = rules.get("pattern")
        expect(not pattern or re.search(translated(pattern), text), f"{path} is {text!r}, expected {pattern}")
    else:
        raise Broken(f"{path}: nothing is known of {kind}")


def check_length(members, shape, path):
    """The least length is for requests: what has no tags is answered with an empty list of them."""
    expect(len(members) <= shape.metadata.get("max", len(members)), f"{path} has {len(members)} members")


def check_size(size, shape, path):
    rules = shape.metadata
    expect(rules.get("min", size) <= size <= rules.get("max", size), f"{path} has the size {size}")


def translated(pattern):
    for name, replacement in CLASSES.items():
        pattern = pattern.replace(name, replacement)
    return pattern


def text_of(element):
    return element is not None and element.text


def expect(condition, message):
    if not condition:
        raise Broken(message)


# "Common errors" of the API's reference, which no operation lists.
COMMON = {
    "AccessDenied": 403,
    "IncompleteSignature": 400,
    "InvalidAction": 400,
    "InvalidClientTokenId": 403,
    "MalformedQueryString": 400,
    "MissingAuthenticationToken": 403,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
    "ValidationError": 400,
}
