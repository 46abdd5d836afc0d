# Filters that differ from those of jaq, or that it does not have. Each may call what stands before it.

# Paths and updates
def setpath($path; $value): _setpath($path; $value);
def delpaths($paths): _delpaths($paths);
def del(f): delpaths([path(f)]);
def map_values(f): .[] |= f;
def walk(f): def inside: if type == "object" then map_values(inside) elif type == "array" then map(inside) end | f; inside;
def leaf_paths: paths(scalars);
def pick(f): . as $whole | reduce path(f) as $path (null; setpath($path; $whole | getpath($path)));

# Text of values
def tojson: _tojson;
def tostring: _tostring;
def @json: tojson;
def @text: tostring;
def @html: tostring | escape_html;
def @htmld: tostring | unescape_html;
def @urid: tostring | decode_uri;
def @uri: tostring | encode_uri;
def @base64: tostring | encode_base64;
def @base64d: tostring | _base64d;
def @base32: tostring | _base32;
def @base32d: tostring | _base32d;
def join($by): reduce .[] as $one (null;
    (if . == null then "" else . + $by end)
    + ($one | if type == "boolean" or type == "number" then tojson end)) // "";
def _line(name; by; cell): if type == "array" then [.[] | cell] | join(by) else error("\(type) (\(tojson)) cannot be \(name)-formatted, only array") end;
def _replace($from; $to): . / $from | join($to);
def _cell(name; text): if type == "string" then text elif . == null then "" elif type == "number" or type == "boolean" then tojson
    else error("\(type) (\(tojson)) is not valid in a \(name) row") end;
def @csv: _line("csv"; ","; _cell("csv"; "\"" + _replace("\""; "\"\"") + "\""));
def @tsv: _line("tsv"; "\t"; _cell("tsv"; _replace("\\"; "\\\\") | _replace("\t"; "\\t") | _replace("\n"; "\\n") | _replace("\r"; "\\r")));
def @sh: [if type == "array" then .[] end | if type == "string" then "'" + escape_sh + "'" elif type == "array" or type == "object" then
    error("\(type) (\(tojson)) can not be escaped for shell") else tojson end] | join(" ");
def ltrimstr($start): if type == "string" and ($start | type) == "string" then _ltrimstr($start) end;
def rtrimstr($end): if type == "string" and ($end | type) == "string" then _rtrimstr($end) end;
def trimstr($both): ltrimstr($both) | rtrimstr($both);
def ascii: [.] | implode;

# Arrays and objects
def toarray: if type == "array" then . else [.] end;
def flatten($depth): if $depth < 0 then error("flatten depth must not be negative") else
    reduce .[] as $one ([]; . + if ($one | type) == "array" and $depth > 0 then $one | flatten($depth - 1) else [$one] end) end;
def nth($n; f): if $n < 0 then error("Out of bounds negative array index") else first(skip($n; f)) end;
def combinations: if length == 0 then [] else .[0][] as $first | (.[1:] | combinations) as $rest | [$first] + $rest end;
def combinations($n): . as $of | [range($n) | $of] | combinations;
def _first_of($names): . as $entry | first(($names[] | $entry[.] | select(. != null)), null);
def from_entries: reduce .[] as $entry ({}; .[$entry | _first_of(["key", "k", "name", "Name", "K", "Key"]) | tostring] =
    ($entry | _first_of(["value", "v", "Value", "V"])));
def with_entries(f): to_entries | map(f) | from_entries;
def IN(f): any(f == .; .);
def IN(of; f): any(of == f; .);
def INDEX(of; f): reduce of as $row ({}; .[$row | f | tostring] = $row);
def INDEX(f): INDEX(.[]; f);
def isvalid(f): try (f | true) catch false;

# Streams
def _events($path): if type == "array" or type == "object" then keys_unsorted as $keys
    | if $keys == [] then [$path, .] else ($keys[] as $key | .[$key] | _events($path + [$key])), [$path + $keys[-1:]] end
    else [$path, .] end;
def tostream: _events([]);
def fromstream(f): foreach f as $event ({};
    (if .done then {} end)
    | if ($event | length) > 1 then .done = ($event[0] == []) | setpath(["value"] + $event[0]; $event[1])
      else .done = (($event[0] | length) == 1) end;
    if .done then .value else empty end);
def truncate_stream(f): . as $depth | null | f | select((.[0] | length) > $depth) | .[0] |= .[$depth:];

# Regular expressions
def _captured: [.captures[] | select(.name != null) | {key: .name, value: .string}] | from_entries;
def match($re; $flags): _parts($re; $flags)[] | select(type == "object");
def match($re): match($re; null);
def test($re; $flags): _test($re; $flags);
def test($re): _test($re; null);
def capture($re; $flags): match($re; $flags) | _captured;
def capture($re): capture($re; null);
def scan($re; $flags): match($re; "g" + $flags) | if .captures == [] then .string else [.captures[].string] end;
def scan($re): scan($re; null);
def split($re; $flags): [_parts($re; "g" + $flags)[] | select(type == "string")];
def splits($re; $flags): split($re; $flags)[];
def splits($re): splits($re; null);
def sub($re; by; $flags): _parts($re; $flags) as $parts
    | [$parts[] | if type == "string" then . else [_captured | by] end] as $parts
    | range([1, ($parts[] | select(type == "array") | length)] | max) as $i
    | reduce $parts[] as $part (""; . + if ($part | type) == "string" then $part else $part[$i] // "" end);
def sub($re; by): sub($re; by; null);
def gsub($re; by; $flags): sub($re; by; "g" + $flags);
def gsub($re; by): sub($re; by; "g");

# Time
def todateiso8601: if type == "array" then mktime end | if type == "number" then floor | _todateiso8601 else error("\(type) (\(tojson)) is no time") end;
def todate: todateiso8601;
def date: todate;
def dateadd(unit; $n): . + $n;
def datesub(unit; $n): . - $n;
def strptime($format): _strptime($format);

# What others print passes through
def debug: .;
def debug(messages): (messages | empty), .;
def stderr: .;
