// The programs that carry the site.

import type { ServiceLive } from "../../contract";
import { number } from "../../format";
import { Badge, type Tone } from "../../parts/badge";
import { Value } from "../../parts/value";

/** The dot's colour; an unknown phase is judged by its replicas. */
export function health(service: ServiceLive): Tone {
  switch (service.phase) {
    case "Failed":
    case "BackOff":
      return "bad";
    case "Starting":
    case "Rolling":
    case "Degraded":
      return "warn";
    case "Waiting":
    case "Stopping":
    case "Stopped":
    case "Completed":
      return "idle";
    default:
      return service.ready >= service.replicas ? "good" : service.ready > 0 ? "warn" : "bad";
  }
}

export function Services({ services }: { services: ServiceLive[] }) {
  if (services.length === 0) return <p class="empty">No services are declared.</p>;
  return (
    <table role="table" class="services" aria-labelledby="services-title">
      <thead role="rowgroup">
        <tr role="row">
          {["Service", "Phase", "Ready", "Restarts"].map((name) => <th role="columnheader" scope="col" key={name}>{name}</th>)}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {services.map((service) => (
          <tr role="row" key={service.name}>
            <th role="rowheader" scope="row">
              {service.name}
              {service.message === "" ? null : <span class="note below" data-field={`services.${service.name}.message`}>{service.message}</span>}
            </th>
            <td role="cell"><Badge tone={health(service)} text={service.phase} field={`services.${service.name}.phase`} /></td>
            <td role="cell" class="count ready">
              <Value field={`services.${service.name}.ready`} value={service.ready} text={number(service.ready, 0)} />
              {" of "}
              <Value field={`services.${service.name}.replicas`} value={service.replicas} text={number(service.replicas, 0)} />
            </td>
            <td role="cell" class="count restarts">
              <Value field={`services.${service.name}.restarts`} value={service.restarts} text={number(service.restarts, 0)} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
