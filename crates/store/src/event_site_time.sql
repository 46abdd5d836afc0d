-- When an event last happened in the time of its site, microseconds; NULL for what follows no site's clock.
ALTER TABLE event ADD COLUMN last_site INTEGER;
