// Frames beside the AsyncAPI document, in both directions: every field is one that it names, of the type
// that it says. So each test that sends a frame also tests its shape.

import { readFileSync } from "node:fs";
import { parse } from "yaml";

const { messages, schemas } = parse(readFileSync(new URL("../../../services/site/asyncapi.yaml", import.meta.url), "utf8")).components;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** What says nothing of a value, or is not worth checking. */
const IGNORED = ["description", "examples", "format", "propertyNames"];

/** `side`: `client` or `server`, whose frame it is. */
export function assertDocumented(side, frame) {
  const name = String(frame.type).replace(/(^|_)(.)/g, (_, __, letter) => letter.toUpperCase());
  const message = messages[`${side}${name}`];
  if (!message) throw new Error(`The AsyncAPI document has no frame of the ${side} with the type ${frame.type}`);
  const [problem] = problems(message.payload, frame, frame.type);
  if (problem) throw new Error(`Not as the AsyncAPI document has it: ${problem}`);
}

/** A schema with all that it refers to: the properties of several are those of one. */
function whole({ $ref, allOf = [], ...own }) {
  const parts = [...allOf, ...($ref ? [schemas[$ref.split("/").at(-1)]] : [])].map(whole);
  return parts.reduce(
    (one, other) => ({
      ...one,
      ...other,
      ...((one.properties || other.properties) && { properties: { ...one.properties, ...other.properties } }),
      ...((one.required || other.required) && { required: [...(one.required ?? []), ...(other.required ?? [])] }),
    }),
    own,
  );
}

function problems(schema, value, path) {
  const { type, enum: values, minimum, oneOf, items, properties, additionalProperties, required = [], ...rest } = whole(schema);
  const unknown = Object.keys(rest).filter((name) => !IGNORED.includes(name));
  if (unknown.length) throw new Error(`The check of frames does not know ${unknown} in ${path}`);
  const found = [];
  const check = (isRight, what) => isRight || found.push(`${path} ${what}: ${JSON.stringify(value)}`);
  if (oneOf) check(oneOf.some((one) => problems(one, value, path).length === 0), "is none of those that it may be");
  if (type) check([type].flat().includes(typeOf(value)), `is not ${type}`);
  if (values) check(values.includes(value), `is not one of ${values}`);
  if (minimum !== undefined && typeof value === "number") check(value >= minimum, `is below ${minimum}`);
  if (rest.format === "uuid") check(UUID.test(value), "is not a UUID");
  if (Array.isArray(value)) found.push(...value.flatMap((one, index) => (items ? problems(items, one, `${path}[${index}]`) : [])));
  else if (typeOf(value) === "object") {
    for (const name of required) check(name in value, `has no ${name}`);
    for (const [name, one] of Object.entries(value)) {
      // As in JSON.
      if (one === undefined) continue;
      const of = properties?.[name] ?? additionalProperties;
      if (of) found.push(...problems(of, one, `${path}.${name}`));
      else check(!type || oneOf, `has ${name}, which is unknown`);
    }
  }
  return found;
}

function typeOf(value) {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return Number.isInteger(value) ? "integer" : typeof value;
}
