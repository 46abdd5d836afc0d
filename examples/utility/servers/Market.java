// The market service: REST on the HTTP server of the JDK, in one file. Offers are sold to orders at the offer's price.

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.math.BigDecimal;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

public final class Market {
    record Offer(String id, String area, BigDecimal kwh, BigDecimal price) {}

    record Order(String id, String offer, BigDecimal kwh, BigDecimal cost) {}

    /** An answer other than the one that was wanted: RFC 9457. */
    static final class Problem extends RuntimeException {
        final int status;

        Problem(int status, String detail) {
            super(detail);
            this.status = status;
        }
    }

    private final Map<String, Offer> offers = new LinkedHashMap<>();
    private final Map<String, Order> orders = new LinkedHashMap<>();
    /** Orders by the key that was sent with them: the same order again is the same order. */
    private final Map<String, Order> known = new LinkedHashMap<>();

    public static void main(String[] args) throws IOException {
        int port = Integer.parseInt(args[0]);
        byte[] contract = Files.readAllBytes(Path.of(args[1]));
        Market market = new Market();
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.createContext("/", exchange -> market.handle(exchange, contract));
        server.start();
        System.out.println("market at http://127.0.0.1:" + port + "/openapi.yaml");
    }

    private void handle(HttpExchange exchange, byte[] contract) throws IOException {
        int status = 200;
        byte[] body;
        String type = "application/json";
        try {
            String path = exchange.getRequestURI().getPath();
            if (path.equals("/openapi.yaml")) {
                type = "application/yaml";
                body = contract;
            } else {
                Object answer = route(exchange, path);
                status = exchange.getRequestMethod().equals("POST") ? 201 : answer == null ? 204 : 200;
                body = answer == null ? new byte[0] : json(answer).getBytes(StandardCharsets.UTF_8);
            }
        } catch (Problem problem) {
            status = problem.status;
            type = "application/problem+json";
            var told = new LinkedHashMap<String, Object>();
            told.put("title", status == 404 ? "Not found" : status == 409 ? "Conflict" : "Bad request");
            told.put("status", status);
            told.put("detail", problem.getMessage());
            body = json(told).getBytes(StandardCharsets.UTF_8);
        }
        exchange.getResponseHeaders().set("Content-Type", type);
        exchange.sendResponseHeaders(status, body.length == 0 ? -1 : body.length);
        if (body.length > 0) exchange.getResponseBody().write(body);
        exchange.close();
    }

    private synchronized Object route(HttpExchange exchange, String path) throws IOException {
        String call = exchange.getRequestMethod() + " " + path.replaceAll("^(/\\w+)/.+$", "$1/{id}");
        String id = path.replaceAll("^/\\w+/?", "");
        return switch (call) {
            case "GET /health" -> Map.of("status", "up");
            case "GET /offers" -> list(query(exchange));
            case "POST /offers" -> offer(read(exchange));
            case "GET /offers/{id}" -> found(offers, id, "offer");
            case "DELETE /offers/{id}" -> {
                found(offers, id, "offer");
                offers.remove(id);
                yield null;
            }
            case "POST /orders" -> order(read(exchange), exchange.getRequestHeaders().getFirst("Idempotency-Key"));
            case "GET /orders/{id}" -> found(orders, id, "order");
            default -> throw new Problem(404, "there is no " + call);
        };
    }

    private List<Offer> list(Map<String, List<String>> query) {
        List<String> areas = query.getOrDefault("area", List.of());
        var most = query.containsKey("maxPrice") ? number(query.get("maxPrice").get(0), "maxPrice") : null;
        return offers.values().stream()
            .filter(offer -> areas.isEmpty() || areas.contains(offer.area()))
            .filter(offer -> most == null || offer.price().compareTo(most) <= 0)
            .toList();
    }

    private Offer offer(Map<String, String> body) {
        var offer = new Offer("o" + (offers.size() + orders.size() + 1), needed(body, "area"),
            number(needed(body, "kwh"), "kwh"), number(needed(body, "price"), "price"));
        if (offer.kwh().signum() <= 0) throw new Problem(400, "kwh must be above zero");
        offers.put(offer.id(), offer);
        return offer;
    }

    private Order order(Map<String, String> body, String key) {
        if (key != null && known.containsKey(key)) return known.get(key);
        Offer offer = found(offers, needed(body, "offer"), "offer");
        BigDecimal kwh = number(needed(body, "kwh"), "kwh");
        if (kwh.signum() <= 0) throw new Problem(400, "kwh must be above zero");
        if (kwh.compareTo(offer.kwh()) > 0) {
            throw new Problem(409, "offer " + offer.id() + " has " + offer.kwh() + " kWh left, not " + kwh);
        }
        BigDecimal left = offer.kwh().subtract(kwh);
        if (left.signum() == 0) offers.remove(offer.id());
        else offers.put(offer.id(), new Offer(offer.id(), offer.area(), left, offer.price()));
        var order = new Order("d" + (orders.size() + 1), offer.id(), kwh, kwh.multiply(offer.price()));
        orders.put(order.id(), order);
        if (key != null) known.put(key, order);
        return order;
    }

    private static <T> T found(Map<String, T> all, String id, String what) {
        T one = all.get(id);
        if (one == null) throw new Problem(404, "there is no " + what + " " + id);
        return one;
    }

    private static String needed(Map<String, String> body, String name) {
        String value = body.get(name);
        if (value == null) throw new Problem(400, name + " is missing");
        return value;
    }

    private static BigDecimal number(String text, String name) {
        try {
            return new BigDecimal(text);
        } catch (NumberFormatException error) {
            throw new Problem(400, name + " is \"" + text + "\", expected a number");
        }
    }

    private static Map<String, List<String>> query(HttpExchange exchange) {
        Map<String, List<String>> query = new LinkedHashMap<>();
        String text = exchange.getRequestURI().getRawQuery();
        if (text == null) return query;
        for (String pair : text.split("&")) {
            String[] parts = pair.split("=", 2);
            String value = URLDecoder.decode(parts.length > 1 ? parts[1] : "", StandardCharsets.UTF_8);
            query.computeIfAbsent(parts[0], name -> new ArrayList<>()).add(value);
        }
        return query;
    }

    private static final Pattern MEMBER = Pattern.compile("\"(\\w+)\"\\s*:\\s*(?:\"([^\"]*)\"|([-+.\\w]+))");

    /** The flat objects that this service takes; what is no such object has no members. */
    private static Map<String, String> read(HttpExchange exchange) throws IOException {
        String text = new String(exchange.getRequestBody().readNBytes(1 << 16), StandardCharsets.UTF_8);
        Map<String, String> members = new LinkedHashMap<>();
        Matcher matcher = MEMBER.matcher(text);
        while (matcher.find()) members.put(matcher.group(1), matcher.group(2) != null ? matcher.group(2) : matcher.group(3));
        return members;
    }

    private static String json(Object value) {
        if (value instanceof List<?> list) return "[" + String.join(",", list.stream().map(Market::json).toList()) + "]";
        if (value instanceof Map<?, ?> map) {
            return "{" + String.join(",", map.entrySet().stream().map(e -> quote(e.getKey()) + ":" + json(e.getValue())).toList()) + "}";
        }
        if (value instanceof Offer o) return json(pairs("id", o.id(), "area", o.area(), "kwh", o.kwh(), "price", o.price()));
        if (value instanceof Order o) return json(pairs("id", o.id(), "offer", o.offer(), "kwh", o.kwh(), "cost", o.cost()));
        return value instanceof Number ? new BigDecimal(value.toString()).toPlainString() : quote(value);
    }

    private static Map<String, Object> pairs(Object... all) {
        Map<String, Object> map = new LinkedHashMap<>();
        for (int i = 0; i < all.length; i += 2) map.put((String) all[i], all[i + 1]);
        return map;
    }

    private static String quote(Object text) {
        return '"' + text.toString().replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }
}
