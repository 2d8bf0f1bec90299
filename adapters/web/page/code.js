// Code in colours: strings, comments, numbers and the words that most languages share.

const COMMENTS = {
  python: /#.*/, py: /#.*/, bash: /#.*/, sh: /#.*/, shell: /#.*/, ruby: /#.*/, yaml: /#.*/, toml: /#.*/, r: /#.*/,
  sql: /--.*|\/\*[^]*?\*\//, lua: /--.*/, json: /(?!)/,
};
const SLASHES = /\/\/.*|\/\*[^]*?\*\//;
const STRING = /"""[^]*?"""|'''[^]*?'''|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`/;
const NUMBER = /\b\d[\w.]*/;
const WORDS = "and as assert async await break case catch class const continue def default del do elif else enum except "
  + "export extends false False finally fn for from func function global if impl import in interface is lambda let "
  + "match new nil None nonlocal not null or package pass private public raise return self static struct super switch "
  + "this throw true True try type use var void while with yield "
  + "SELECT FROM WHERE GROUP ORDER BY HAVING LIMIT JOIN LEFT INNER ON AS AND OR NOT NULL INSERT INTO VALUES UPDATE SET "
  + "DELETE CREATE TABLE ALTER DROP DISTINCT COUNT SUM AVG MIN MAX IN IS LIKE BETWEEN UNION CASE WHEN THEN ELSE END";
const KEYWORD = new RegExp(`\\b(?:${WORDS.split(" ").join("|")})\\b`);
const KINDS = ["comment", "string", "number", "keyword"];
const LONGEST = 30000; // characters; more stays plain

export function colour(code) {
  const language = /language-([\w+#.-]+)/.exec(code.className)?.[1]?.toLowerCase();
  const text = code.textContent;
  if (!language || /^(te?xt|plain|html|xml|markdown|md|csv)/.test(language) || text.length > LONGEST) return;
  const parts = [COMMENTS[language] ?? SLASHES, STRING, NUMBER, KEYWORD].map((one) => `(${one.source})`);
  const pieces = [];
  let at = 0;
  for (const found of text.matchAll(new RegExp(parts.join("|"), "g"))) {
    const span = document.createElement("span");
    span.className = KINDS[found.slice(1).findIndex((group) => group !== undefined)];
    span.textContent = found[0];
    pieces.push(text.slice(at, found.index), span);
    at = found.index + found[0].length;
  }
  code.replaceChildren(...pieces, text.slice(at));
}
