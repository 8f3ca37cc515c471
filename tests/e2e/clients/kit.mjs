// Everything that fhir-kit-client can ask of a server, asked. Arguments: the folder of the package, the base URL, the token.
import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';

const [folder, baseUrl, token] = process.argv.slice(2);
// The package stands in another folder than this script, so that its name does not lead to it.
const { Client, CapabilityTool } = await import(
    pathToFileURL(`${folder}/node_modules/fhir-kit-client/dist/index.js`).href
);
const client = new Client({ baseUrl, bearerToken: token });

const status = async (promise) => {
    try {
        await promise;
    } catch (error) {
        assert.equal(error.response.data.resourceType, 'OperationOutcome', 'an error is an OperationOutcome');
        return error.response.status;
    }
    return 200;
};
const http = (resource) => Client.httpFor(resource).response;

// What the server says that it does.
const statement = await client.capabilityStatement();
assert.equal(statement.resourceType, 'CapabilityStatement');
assert.equal(statement.fhirVersion, '4.0.1');
if (CapabilityTool) {
    const tool = new CapabilityTool(statement);
    assert.equal(tool.serverCan('transaction'), true);
    assert.equal(tool.resourceCan('Patient', 'read'), true);
    assert.equal(tool.resourceSearch('Patient', 'birthdate'), true);
}

// Create, read, vread, update, history, delete.
const born = { resourceType: 'Patient', name: [{ family: 'Kit', given: ['Anna'] }], gender: 'female', birthDate: '1980-02-29' };
const created = await client.create({ resourceType: 'Patient', body: born });
assert.equal(http(created).status, 201);
assert.match(http(created).headers.get('location'), /\/Patient\/[^/]+\/_history\/1$/);
const { id } = created;
assert.equal(created.meta.versionId, '1');
const read = await client.read({ resourceType: 'Patient', id });
assert.deepEqual(read.name, born.name);
assert.equal(http(read).headers.get('etag'), 'W/"1"');
const updated = await client.update({ resourceType: 'Patient', id, body: { ...read, active: true } });
assert.equal(updated.meta.versionId, '2');
const first = await client.vread({ resourceType: 'Patient', id, version: '1' });
assert.equal(first.active, undefined);
const where = await client.update({
    resourceType: 'Patient',
    searchParams: { family: 'Kit', birthdate: '1980-02-29' },
    body: { ...born, id, active: false },
});
assert.equal(where.meta.versionId, '3');
const history = await client.resourceHistory({ resourceType: 'Patient', id });
assert.deepEqual([history.type, history.total], ['history', 3]);
assert.equal((await client.typeHistory({ resourceType: 'Patient' })).type, 'history');
assert.equal((await client.systemHistory()).type, 'history');
assert.equal(await status(client.update({ resourceType: 'Patient', id, body: { ...born, id: 'other' } })), 400);
assert.equal(await status(client.patch({ resourceType: 'Patient', id, jsonPatch: [] })), 405);
assert.equal(await status(client.read({ resourceType: 'Patient', id: 'nobody' })), 404);
assert.equal(await status(client.read({ resourceType: 'Nothing', id: '1' })), 404);

// A transaction, whose entries refer to each other, and a batch, one of whose entries fails.
const observation = (n) => ({
    resource: {
        resourceType: 'Observation',
        status: 'final',
        code: { coding: [{ system: 'http://loinc.org', code: '8480-6' }] },
        subject: { reference: 'urn:uuid:7f1f2a4e-5d2c-4f19-9f3f-000000000001' },
        effectiveDateTime: `2024-01-0${n}`,
        valueQuantity: { value: 100 + n, unit: 'mmHg', system: 'http://unitsofmeasure.org', code: 'mm[Hg]' },
    },
    request: { method: 'POST', url: 'Observation' },
});
const transaction = await client.transaction({
    body: {
        resourceType: 'Bundle',
        type: 'transaction',
        entry: [
            {
                fullUrl: 'urn:uuid:7f1f2a4e-5d2c-4f19-9f3f-000000000001',
                resource: { resourceType: 'Patient', name: [{ family: 'Transacted' }] },
                request: { method: 'POST', url: 'Patient' },
            },
            ...[1, 2, 3, 4, 5, 6, 7].map(observation),
        ],
    },
});
assert.equal(transaction.type, 'transaction-response');
assert.ok(transaction.entry.every((entry) => entry.response.status.startsWith('201')));
const patient = transaction.entry[0].response.location.split('/').at(-3);
const batch = await client.batch({
    body: {
        resourceType: 'Bundle',
        type: 'batch',
        entry: [
            { request: { method: 'GET', url: `Patient/${patient}` } },
            { request: { method: 'GET', url: 'Patient/nobody' } },
        ],
    },
});
assert.deepEqual(batch.entry.map((entry) => entry.response.status.slice(0, 3)), ['200', '404']);

// Searches, and a walk over their pages.
const search = (searchParams, options) => client.search({ resourceType: 'Observation', searchParams, options });
const found = await search({ patient, _count: 3, _sort: '-date', _total: 'accurate' });
assert.equal(found.total, 7);
const dates = [];
for (let page = found; page; page = await client.nextPage({ bundle: page })) {
    dates.push(...page.entry.map((entry) => entry.resource.effectiveDateTime));
}
assert.deepEqual(dates, [7, 6, 5, 4, 3, 2, 1].map((n) => `2024-01-0${n}`));
const posted = await search({ patient, 'value-quantity': 'gt105', _include: 'Observation:patient' }, { postSearch: true });
assert.deepEqual(posted.entry.map((entry) => entry.search.mode).sort(), ['include', 'match', 'match']);
const inside = await client.search({ resourceType: 'Observation', compartment: { resourceType: 'Patient', id: patient } });
assert.equal(inside.entry.length, 7);
const system = await client.systemSearch({ searchParams: { _type: 'Patient,Observation', _summary: 'count' } });
assert.equal(system.total, 9);
assert.equal(await status(search({ 'no-such-parameter': '1' }, { headers: { prefer: 'handling=strict' } })), 400);

// References, operations, arbitrary requests.
const subject = await client.resolve({ reference: inside.entry[0].resource.subject.reference });
assert.equal(subject.id, patient);
const everything = await client.operation({ name: '$everything', resourceType: 'Patient', id: patient, method: 'GET' });
assert.equal(everything.entry.length, 8);
const raw = await client.request(`Patient/${patient}?_pretty=true`);
assert.equal(raw.resourceType, 'Patient');

// Delete: gone, not missing.
const deleted = await client.delete({ resourceType: 'Patient', id });
assert.ok([200, 204].includes(http(deleted).status));
assert.equal(await status(client.read({ resourceType: 'Patient', id })), 410);
console.log('ok');
