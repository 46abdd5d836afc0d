// What happened lately, newest first.

import type { EventRecord } from "../../contract";
import { dayAndClock } from "../../format";

const SHOWN = 12;

export function Events({ events }: { events: EventRecord[] }) {
  if (events.length === 0) return <p class="empty">Nothing has happened yet.</p>;
  return (
    <ol class="events">
      {events.slice(0, SHOWN).map((event) => (
        <li key={event.id} class={event.type === "Warning" ? "warning" : ""} data-field={`events.${event.id}`}>
          <p class="what">
            <span class="about">{event.kind} {event.name}</span>
            {event.type === "Warning" ? <span class="tag">Warning</span> : null}
            {event.count > 1 ? <span class="note"> {event.count} times</span> : null}
          </p>
          <p>{event.message}</p>
          <time class="note" dateTime={event.site_time ?? event.time}>
            {dayAndClock(event.site_time ?? event.time)}{event.site_time ? "" : " (wall clock)"}
          </time>
        </li>
      ))}
    </ol>
  );
}
