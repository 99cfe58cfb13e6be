// Starts Swagger UI on the element that says where the OpenAPI document is.
const place = document.getElementById("swagger-ui");
SwaggerUIBundle({
  url: place.dataset.address,
  domNode: place,
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
  // It would ask a server elsewhere whether the document is valid.
  validatorUrl: null,
});
