// The forecast service: gRPC on Node, with reflection and health. A forecast is the mean of the readings that it was told of
// the same hour of the day. When it has learnt it says so on NATS, as a CloudEvent.
import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';

// The packages lie outside the checkout; `serve` says where.
const require = createRequire(process.env.UTILITY_PACKAGES ?? import.meta.url);
const grpc = require('@grpc/grpc-js');
const { loadSync } = require('@grpc/proto-loader');
const { ReflectionService } = require('@grpc/reflection');
const { HealthImplementation } = require('grpc-health-check');

const { values: args } = parseArgs({ options: { port: { type: 'string' }, nats: { type: 'string' } } });
const HOUR = 3600;
const contracts = fileURLToPath(new URL('../contracts', import.meta.url));
const definition = loadSync('forecast/v1/forecast.proto', {
  includeDirs: [contracts],
  longs: Number,
  enums: String,
  defaults: true,
});

/** Sums and counts by meter and hour of the day (UTC). */
const learnt = new Map();

function learn(reading) {
  const { meter, time, kwh } = reading;
  if (!meter || !time) throw invalid('a reading needs meter and time');
  if (!Number.isFinite(kwh) || kwh < 0) throw invalid(`kwh of ${meter} is ${kwh}, expected a number of 0 or more`);
  const readings = learnt.get(meter) ?? new Map();
  learnt.set(meter, readings);
  readings.set(time.seconds, kwh);
}

function at(meter, seconds) {
  const readings = learnt.get(meter);
  const hour = Math.floor(seconds / HOUR) % 24;
  const seen = [...readings].filter(([time]) => Math.floor(time / HOUR) % 24 === hour).map(([, kwh]) => kwh);
  const kwh = seen.length === 0 ? 0 : seen.reduce((sum, one) => sum + one, 0) / seen.length;
  return { time: { seconds, nanos: 0 }, kwh, seen: seen.length };
}

function steps({ meter, start, hours }) {
  if (!learnt.has(meter)) throw problem(grpc.status.NOT_FOUND, `nothing was learnt of meter "${meter}"`);
  if (!start) throw invalid('start is missing');
  if (hours < 1 || hours > 168) throw invalid(`hours is ${hours}, expected 1 to 168`);
  const first = Math.floor(start.seconds / HOUR) * HOUR;
  return Array.from({ length: hours }, (_, n) => at(meter, first + n * HOUR));
}

function problem(code, details) {
  return Object.assign(new Error(details), { code, details });
}

const invalid = (details) => problem(grpc.status.INVALID_ARGUMENT, details);

const handlers = {
  Learn(call, callback) {
    let readings = 0;
    let failed = null;
    const meters = new Set();
    call.on('data', (reading) => {
      try {
        if (failed === null) learn(reading);
        meters.add(reading.meter);
        readings += 1;
      } catch (error) {
        failed = error;
      }
    });
    call.on('end', () => {
      if (failed !== null) return callback(failed);
      callback(null, { readings });
      tell([...meters], readings).catch((error) => console.error(`NATS: ${error.message}`));
    });
  },
  GetForecast(call, callback) {
    try {
      callback(null, { meter: call.request.meter, steps: steps(call.request) });
    } catch (error) {
      callback(error);
    }
  },
  StreamForecast(call) {
    try {
      for (const step of steps(call.request)) call.write(step);
      call.end();
    } catch (error) {
      call.emit('error', error);
    }
  },
  Compare(call) {
    call.on('data', (reading) => {
      try {
        const forecast = steps({ meter: reading.meter, start: reading.time, hours: 1 })[0];
        call.write({ time: reading.time, measuredKwh: reading.kwh, forecastKwh: forecast.kwh });
      } catch (error) {
        call.emit('error', error);
      }
    });
    call.on('end', () => call.end());
  },
};

let stream = null;

/** Says on NATS what was learnt: a CloudEvent in binary mode, known again by its id. */
async function tell(meters, readings) {
  if (!args.nats) return;
  if (stream === null) {
    const { connect } = require('@nats-io/transport-node');
    const { jetstream } = require('@nats-io/jetstream');
    stream = jetstream(await connect({ servers: args.nats, maxReconnectAttempts: -1 }));
  }
  const { headers } = require('@nats-io/transport-node');
  const head = headers();
  const id = randomUUID();
  const attributes = {
    'ce-specversion': '1.0',
    'ce-id': id,
    'ce-source': '/forecast',
    'ce-type': 'org.example.forecast.learnt',
    'ce-time': new Date().toISOString(),
    'ce-datacontenttype': 'application/json',
  };
  for (const [name, value] of Object.entries(attributes)) head.set(name, value);
  await stream.publish('forecast.learnt', JSON.stringify({ meters, readings }), { headers: head, msgID: id });
}

const server = new grpc.Server();
server.addService(grpc.loadPackageDefinition(definition).forecast.v1.Forecast.service, handlers);
new ReflectionService(definition).addToServer(server);
const health = new HealthImplementation({ '': 'SERVING', 'forecast.v1.Forecast': 'SERVING' });
health.addToServer(server);
server.bindAsync(`127.0.0.1:${args.port}`, grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(`forecasts at 127.0.0.1:${port}`);
});
