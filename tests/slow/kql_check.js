// Microsoft's own KQL parser over queries, with the tables that a workspace has: `node kql_check.js FOLDER`.
// FOLDER holds node_modules/@kusto/language-service-next. Standard input: {tables: {name: schema}, queries: {..}};
// standard output: for each query its errors and the columns of its result.
const folder = process.argv[2] + "/node_modules/@kusto/language-service-next/";
require(folder + "bridge.min.js");
require(folder + "Kusto.Language.Bridge.min.js");
const { KustoCode, GlobalState, Symbols } = Kusto.Language;
const asked = JSON.parse(require("fs").readFileSync(0));
const tables = Object.entries(asked.tables).map(
  ([name, schema]) => new Symbols.TableSymbol.$ctor7(name, `(${schema})`, ""),
);
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor("workspace", tables));
const list = (values) => Array.from({ length: values.Count }, (_, i) => values.getItem(i));
const out = {};
for (const [name, query] of Object.entries(asked.queries)) {
  const code = KustoCode.ParseAndAnalyze(query, globals);
  const errors = list(code.GetDiagnostics()).filter((d) => d.Severity === "Error");
  const columns = code.ResultType && code.ResultType.Columns ? list(code.ResultType.Columns) : [];
  out[name] = { errors: errors.map((d) => d.Message), columns: columns.map((c) => `${c.Name}:${c.Type.Name}`) };
}
console.log(JSON.stringify(out));
